"""Plain technical English and American spelling in source, docs and recipes (CONTRIBUTING.md)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(
    path
    for pattern in (
        "*.md",
        "pyproject.toml",
        "docs/**/*.md",
        "docs/*.py",
        "recipes/**/*.md",
        "recipes/**/*.py",
        "recipes/**/*.yaml",
        "src/**/*.py",
        "src/**/*.j2",
    )
    for path in ROOT.glob(pattern)
)

# What is not written -> what is written instead.
FORBIDDEN = {
    r"(is|are|was|were) no (?!longer\b|more\b|less\b|later\b|fewer\b)": "is not a",
    r"no finite number": "not a finite number",
    r"alone": "only",
    r"dear(er|est|ly)?": "expensive",
    r"anew": "again",
    r"(is|are|was|were|be|been|being|as|when|not|what|who|get|gets) told": "given, reported",
    r"of ours": "written by atlas",
    r"mend(s|ed|ing)?": "fix",
    r"struck out": "redacted",
    r"second chances?": "retried with the reason",
    r"wings?": "stage",
    r"workshops?": "shared package",
    r"the house": "the layout, the package",
    r"for want of": "because of missing",
    r"bears?": "accepts",
    r"as (it|they) comes?": "as it is, default",
    r"(goes|went|go) on with": "resume",
    r"begun anew|at will": "again",
    r"colours?|coloured|behaviours?|favours?|neighbours?|honours?|honoured": "-or-",
    r"\w*(optimis|normalis|summaris|serialis|initialis|recognis|organis|generalis)\w*": "-iz-",
    r"\w*(tokenis|quantis|parallelis|minimis|maximis|utilis|emphasis(e|ed|es|ing)|randomis)\w*": (
        "-iz-"
    ),
    r"(label|travel|model|cancel)l(ed|ing)": "one l",
    r"analys(e|ed|es|ing)|licence|artefacts?|whilst|catalogues?|centre[ds]?": ("American spelling"),
}
PATTERNS = {re.compile(rf"\b(?:{pattern})\b", re.I): good for pattern, good in FORBIDDEN.items()}

# Places where a forbidden word is data: names of labels, colors, words that a model says.
DATA = {
    # Observations and thoughts, which models read and say.
    "src/atlas/environments/babyai/actions.py": r"' is no known action|there is no (door|free way)",
    "src/atlas/environments/babyai/thoughts.py": r"open it anew|There was no reason",
    # Observations of AgentGym.
    "src/atlas/environments/paper/babyai/errands.py": r"there is no path",
    "src/atlas/environments/paper/maze/grid.py": r"There are no walls",
    "recipes/base/worlds/common.py": r"what you are told|I was told to",
    # Prompts whose digests are recorded in runs.
    "src/atlas/selection/judging/oracle_prompt.py": r"^2\. Summarise the plan",
    "src/atlas/selection/judging/rejection_prompt.py": (
        r"good ones alone\b|attempt and mends it|^alone makes no step"
    ),
    "src/atlas/models/endpoints/batches/google.py": r'"CANCELLED"',
    "src/atlas/models/endpoints/batches/openai.py": r'"cancelled"',
    "src/atlas/models/endpoints/retries.py": r"turn\.cancelled\(\)",
    "src/atlas/training/tune_model.py": r"TOKENIZERS_PARALLELISM",
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_forbidden_words(path: Path) -> None:
    name = name_of(path)
    data = DATA.get(name)
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = re.sub(data, "", line) if data else line
        for pattern, good in PATTERNS.items():
            found += [
                f"{name}:{number}: '{match[0]}': write '{good}'" for match in pattern.finditer(text)
            ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("the row is no trajectory", True),
        ("there is no longer a row", False),
        ("a standalone server", False),
        ("on those steps alone", True),
        ("the optimiser step", True),
        ("a recommendation", False),
        ("mended", True),
        ("the warehouse", False),
    ],
)
def test_the_patterns_find_words_and_not_parts_of_words(text: str, is_found: bool) -> None:
    assert any(pattern.search(text) for pattern in PATTERNS) == is_found
