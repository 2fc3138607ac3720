"""How much memory this process may still use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# The limit of a container and what it uses, in version 2 and 1 of control groups.
CONTROL_GROUPS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
# A part of what a container uses is its cache of files, which gives way.
FILE_CACHES = ("memory.stat", "memory/memory.stat")


def available_memory(device: str, root: Path = Path("/")) -> float | None:
    """Bytes that this process can take, those that it has included; None: they cannot be read.

    Args:
        device: "cpu", or "cuda" for the current GPU.
        root: of the file system with /proc and /sys.
    """
    if device == "cuda":
        import torch

        return float(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved())
    return min(_limits(root), default=None)


def _limits(root: Path) -> Iterator[float]:
    own = _fields(root / "proc/self/status").get("VmRSS", 0) * 1024
    if (available := _fields(root / "proc/meminfo").get("MemAvailable")) is not None:
        yield float(available * 1024 + own)
    elif "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        # Not Linux: what other processes use is not known here.
        yield float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    groups = root / "sys/fs/cgroup"
    for (limit, usage), cache in zip(CONTROL_GROUPS, FILE_CACHES, strict=True):
        most, used = _number(groups / limit), _number(groups / usage)
        if most is None or used is None:
            continue
        fields = _fields(groups / cache)
        files = fields.get("inactive_file", 0)
        yield float(max(0, most - used + files) + own)


def _number(file: Path) -> int | None:
    """The number in a file; None if there is none ("max": no limit)."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _fields(file: Path) -> dict[str, int]:
    """The whole numbers of a file of lines `name: number …`."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return {}
    words = (line.replace(":", " ").split() for line in lines)
    return {each[0]: int(each[1]) for each in words if len(each) > 1 and each[1].isdigit()}
