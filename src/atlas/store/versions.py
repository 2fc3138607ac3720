"""The code that made a run: versions of important packages, and a digest of the source."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "atlas-tuning",
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "bitsandbytes",
    "minigrid",
)


def installed_versions() -> dict[str, str]:
    """Python, this code, and each of PACKAGES that is installed."""
    versions = {"python": platform.python_version(), "code": _code_digest()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


@cache
def _code_digest() -> str:
    """A SHA-256 over the source files, shortened: it also identifies a working copy."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(f"{file.relative_to(package).as_posix()}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:12]
