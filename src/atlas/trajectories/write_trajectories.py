"""Write: `trajectories in memory -> run folder`, as an import would."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from atlas.config import Config, StrPath
from atlas.errors import DataError
from atlas.records import Trajectory
from atlas.store.record_files import RecordWriter, to_json, write_records
from atlas.store.run_folders import Manifest, start_run
from atlas.trajectories.import_summary import ImportSummary
from atlas.trajectories.trajectory_lines import line_of


class WriteConfig(Config):
    """What a program wrote."""

    content: str = Field(description="SHA-256 of the trajectories")


def write_trajectories(trajectories: Iterable[Trajectory], out: StrPath) -> Manifest:
    """Write trajectories into the run folder `out`, which every command reads like an import.

    Raises:
        DataError: there is none, or two have the same id.
        RunError: `out` holds other trajectories, or another run.
    """
    out, written = Path(out), list(trajectories)
    seen: set[str] = set()
    summary, digest = ImportSummary(), hashlib.sha256()
    for trajectory in written:
        if trajectory.id in seen:
            raise DataError(
                f"two trajectories have the id '{trajectory.id}', expected different ids: "
                "selections refer to trajectories by id."
            )
        seen.add(trajectory.id)
        digest.update(to_json(trajectory))
        summary.add(line_of(trajectory))
    if not written:
        raise DataError("no trajectory was given, expected at least one.")
    config = WriteConfig(content=digest.hexdigest())
    with start_run(out, "import", config, keeps_unfinished=False) as run:
        if run.finished:
            return run.manifest
        with RecordWriter(out / "trajectories.jsonl") as file:
            for trajectory in written:
                file.write(trajectory)
        for name in ("problems", "notes"):
            write_records(out / f"{name}.jsonl", ())
        formats = {"files": 0, "formats": {"python": len(written)}, "format_of_file": {}}
        return run.finish(formats | summary.as_dict())
