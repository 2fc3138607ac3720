"""Makes the run folders of `recipes/paper/smollm2.yaml` from AgentTraj's files and the answers of a
language model to the prompt of the selector `oracle`.

    python recipes/smollm2/prepare.py --agenttraj agentgym-data --labels labels --out data

`--agenttraj` holds AgentTraj's files, such as `babyai_train.json`. `--labels` holds a file of
answers for each of them (`babyai.jsonl`), and maybe `second_reading.jsonl`, the answers of a second
reader to some of the same questions. Nothing is asked, and no server is needed.

    OUT/all              all trajectories of the files that have answers
    OUT/labeled          those with an answer
    OUT/babyai …         the same for each file
    OUT/oracle.jsonl     the answers, for `{name: oracle, model: …, answers: OUT/oracle.jsonl}`
    OUT/second.jsonl     the answers of the second reader
    OUT/learned          a selector that was trained on all answers (`atlas select-train`)
    OUT/fold-0 … fold-4  selections of five more, each trained on the other four fifths of the
                         tasks. Each has a problem for the trajectories that it was trained on. So
                         `{name: vote, of: [OUT/fold-0, …]}` chooses for every trajectory what a
                         selector that never saw its task chooses

A second start makes only what is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from atlas.config import check_config
from atlas.errors import AtlasError
from atlas.records import Selection, Trajectory
from atlas.selection.learned.train_selector import SelectTrainConfig, train_selector
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.selection.write_selections import write_selections
from atlas.store.readers import read_selections, read_trajectories
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories
from atlas.trajectories.write_trajectories import write_trajectories

FOLDS = 5
SECOND = "second_reading"
# The name of the model that answered is not published with the answers.
READER = "anonymous/large-language-model"


def fold_of(trajectory: Trajectory) -> int:
    """The fold of a trajectory, by its task."""
    digest = hashlib.sha256(f"fold {trajectory.task.id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % FOLDS


def pairs_of(labels: Path, agenttraj: Path) -> list[tuple[Path, Path]]:
    """Each file of answers with the file of AgentTraj that it is about."""
    answers = sorted(file for file in labels.glob("*.jsonl") if file.stem != SECOND)
    pairs = [(file, agenttraj / f"{file.stem}_train.json") for file in answers]
    for _, source in pairs:
        if not source.exists():
            raise SystemExit(f"{source} does not exist, expected a file of AgentTraj.")
    if not pairs:
        raise SystemExit(f"{labels} has no file of answers, expected one such as babyai.jsonl.")
    return pairs


def join_answers(files: Sequence[Path], out: Path) -> set[str]:
    """Write the lines of several files into one; gives the ids that they are about."""
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {str(json.loads(line)["id"]) for line in lines}


def select(selector: Mapping[str, object], trajectories: Path, out: Path) -> Path:
    select_steps(check_config(SelectConfig, {"selector": selector}, str(out)), trajectories, out)
    return out


def select_outside(fold: int, labeled: Path, oracle: Path, out: Path) -> None:
    """Choose the steps of one fold by a selector that was trained on the others.

    Args:
        oracle: the selection run of the answers.
    """
    answers = read_selections(oracle, labeled)
    given = [one for one in read_trajectories(labeled) if fold_of(one) != fold]
    part = out / f"without-fold-{fold}"
    write_trajectories(given, part / "trajectories")
    kept = [answers[one.id] for one in given]
    write_selections(kept, part / "trajectories", part / "labels", sentence="the oracle's answers")
    train_selector(SelectTrainConfig(), part / "trajectories", part / "labels", part / "learned")
    chosen = select(
        {"name": "learned", "model": str(part / "learned")}, labeled, part / "selection"
    )
    found = read_selections(chosen, labeled)
    write_selections(
        [
            found[one.id] if fold_of(one) == fold else trained_on(found[one.id])
            for one in read_trajectories(labeled)
        ],
        labeled,
        out / f"fold-{fold}",
        sentence="the steps that a selector chose which was trained on the labels of other tasks",
    )


def trained_on(found: Selection) -> Selection:
    problem = "the selector was trained on this trajectory"
    return found.model_copy(update={"critical_steps": (), "problem": problem})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agenttraj", type=Path, required=True, help="AgentTraj's files")
    parser.add_argument("--labels", type=Path, required=True, help="the folder of answers")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    given = parser.parse_args()
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    pairs = pairs_of(given.labels, given.agenttraj)
    sources = tuple(str(source) for _, source in pairs)
    import_trajectories(ImportConfig(paths=sources), out / "all")
    answered = join_answers([file for file, _ in pairs], out / "oracle.jsonl")
    if (second := given.labels / f"{SECOND}.jsonl").exists():
        join_answers([second], out / "second.jsonl")
    kept = [one for one in read_trajectories(out / "all") if one.id in answered]
    if len(kept) < len(answered):
        missing = len(answered) - len(kept)
        raise SystemExit(f"{missing} answers are about trajectories that {out / 'all'} lacks.")
    labeled, oracle = out / "labeled", out / "oracle"
    write_trajectories(kept, labeled)
    for file, source in pairs:
        part = [one for one in kept if Path(one.source.path or "").name == source.name]
        write_trajectories(part, out / file.stem)
    answers = {"name": "oracle", "model": READER, "answers": str(out / "oracle.jsonl")}
    select(answers, labeled, oracle)
    train_selector(SelectTrainConfig(), labeled, oracle, out / "learned")
    for fold in range(FOLDS):
        select_outside(fold, labeled, oracle, out)
    steps = sum(len(one.steps) for one in kept)
    print(f"{out}: {len(kept)} labeled trajectories with {steps:,} steps")


if __name__ == "__main__":
    try:
        main()
    except AtlasError as error:
        raise SystemExit(f"error: {error}") from None
