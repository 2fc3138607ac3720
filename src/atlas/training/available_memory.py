"""How much memory this process may still use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Where the control groups of version 2 and 1 are, the files with the limit of a group and what it
# uses, and the part of this that gives way: files that were read and are not in use.
VERSIONS = (
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available_memory(device: str, num_processes: int = 1, root: Path = Path("/")) -> float | None:
    """Bytes that this process can take, those that it has included; None: they cannot be read.

    Args:
        device: "cpu", or "cuda" for the current GPU.
        num_processes: that share the memory of the machine. Each GPU has one.
        root: of the file system with /proc and /sys.
    """
    if device == "cuda":
        import torch

        return float(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved())
    own = _fields(root / "proc/self/status").get("VmRSS", 0) * 1024
    free = min(_free(root, own), default=None)
    return None if free is None else free / num_processes + own


def _free(root: Path, own: int) -> Iterator[float]:
    """What is free by each limit that this process is under."""
    if (available := _fields(root / "proc/meminfo").get("MemAvailable")) is not None:
        yield float(available * 1024)
    elif "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        # Not Linux: what other processes use is not known here.
        yield float(max(0, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") - own))
    for (place, limit, usage, cache), group in zip(VERSIONS, _groups(root), strict=True):
        mount = root / "sys/fs/cgroup" / place
        # A limit of any group above holds too. In a container, this path may be that of the
        # machine, and only the mount's own files are there.
        for folder in (mount / group, *(mount / above for above in group.parents)):
            most, used = _number(folder / limit), _number(folder / usage)
            if most is not None and used is not None:
                given_way = _fields(folder / "memory.stat").get(cache, 0)
                yield float(max(0, most - used + given_way))


def _groups(root: Path) -> tuple[Path, Path]:
    """The control groups of this process that limit memory, in version 2 and 1."""
    second = first = Path()
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        number, controllers, name = line.split(":", 2)
        # A group outside the container's own begins with "/..".
        path = Path(*(part for part in name.split("/") if part not in ("", "..")))
        if number == "0":
            second = path
        elif "memory" in controllers.split(","):
            first = path
    return second, first


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
