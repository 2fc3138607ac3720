"""The interface of a format of results: `file -> log of samples`.

To add one, write one file and one row in `RESULT_FORMATS`.
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

from atlas.errors import ConfigError, DataError
from atlas.kinds import Choice, Kind, NoConfig
from atlas.reporting.results.result_file import ResultFile
from atlas.reporting.results.samples import ResultLog

RESULT_FORMATS: dict[str, str] = {
    "inspect": "atlas.reporting.results.inspect_logs:InspectResults",
    "harbor": "atlas.reporting.results.harbor:HarborResults",
    "verifiers": "atlas.reporting.results.verifiers:VerifiersResults",
    "lm_eval": "atlas.reporting.results.lm_eval:LMEvalResults",
    "tau": "atlas.reporting.results.tau:TauResults",
    "table": "atlas.reporting.results.table:TableResults",
}
RESULT_FORMAT = Kind("result format", RESULT_FORMATS, methods=("matches", "read"), fault=DataError)


class ResultFormat(Protocol):
    """Reads one kind of file. One instance, made as `Class(settings)`, reads all files."""

    def matches(self, file: ResultFile) -> bool:
        """Whether a file looks like this format, by its first row, members or columns."""
        ...

    def read(self, file: ResultFile) -> ResultLog:
        """The log in a file.

        Raises:
            DataError: the file cannot be read to its end.
        """
        ...


class ResultFormatBase:
    """A format without settings."""

    def __init__(self, config: NoConfig) -> None:
        pass


def detect_result_format(file: ResultFile) -> str | None:
    """The name of the format that recognizes a file; None if none does.

    Raises:
        ConfigError: several formats recognize it.
        DataError: its beginning cannot be read.
    """
    names = [name for name, format_ in _known_formats().items() if format_.matches(file)]
    if len(names) > 1:
        raise ConfigError(
            f"{file.name} looks like several formats: {', '.join(names)}. "
            "Say which it is with --format."
        )
    return next(iter(names), None)


@cache
def _known_formats() -> dict[str, ResultFormat]:
    """One instance of each row of the table; reading a file leaves no trace in it."""
    return {name: RESULT_FORMAT.make(Choice(name)) for name in RESULT_FORMATS}
