"""The interface of a format: `open file -> trajectories and problems`.

To add one, write one file and one row in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import ValidationError

from atlas.config import Config
from atlas.errors import ConfigError, DataError
from atlas.kinds import Choice, Kind
from atlas.records import Problem
from atlas.trajectories.formats.convert_rows import Converted, convert_rows
from atlas.trajectories.formats.rows import BadRowError, Item, SourceRow
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.formats.training_flags import TOKENS_ONLY, is_token_row

FORMATS: dict[str, str] = {
    "atlas": "atlas.trajectories.formats.atlas:AtlasFormat",
    "agenttraj": "atlas.trajectories.formats.agenttraj:AgentTrajFormat",
    "openai": "atlas.trajectories.formats.openai:OpenAIFormat",
    "sharegpt": "atlas.trajectories.formats.sharegpt:ShareGPTFormat",
    "xlam": "atlas.trajectories.formats.xlam:XLAMFormat",
    "react": "atlas.trajectories.formats.react:ReActFormat",
    "tau": "atlas.trajectories.formats.tau:TauFormat",
    "swe_agent": "atlas.trajectories.formats.swe_agent:SWEAgentFormat",
    "atif": "atlas.trajectories.formats.atif.documents:ATIFFormat",
    "inspect": "atlas.trajectories.formats.inspect.logs:InspectFormat",
    "codex": "atlas.trajectories.formats.codex.sessions:CodexFormat",
    "responses": "atlas.trajectories.formats.responses.response_rows:ResponsesFormat",
    "nemo_gym": "atlas.trajectories.formats.responses.nemo_gym:NeMoGymFormat",
    "opencode": "atlas.trajectories.formats.opencode.sessions:OpencodeFormat",
    "goose": "atlas.trajectories.formats.goose.sessions:GooseFormat",
    "openhands": "atlas.trajectories.formats.openhands.runs:OpenHandsFormat",
    "nebius": "atlas.trajectories.formats.nebius:NebiusFormat",
    "smolagents": "atlas.trajectories.formats.smolagents.memories:SmolagentsFormat",
    "verifiers": "atlas.trajectories.formats.verifiers.rollouts:VerifiersFormat",
    "rllm": "atlas.trajectories.formats.rllm:RLLMFormat",
    "art": "atlas.trajectories.formats.art:ARTFormat",
    "verl": "atlas.trajectories.formats.verl:VerlFormat",
    "claude_code": "atlas.trajectories.formats.claude_code.session_logs:ClaudeCodeFormat",
    "gemini": "atlas.trajectories.formats.gemini.chats:GeminiFormat",
    "qwen_code": "atlas.trajectories.formats.qwen_code:QwenCodeFormat",
    "cline": "atlas.trajectories.formats.cline:ClineFormat",
    "selection_table": "atlas.trajectories.formats.selection_table:SelectionTableFormat",
    "otel": "atlas.trajectories.formats.otel.traces:OTelFormat",
    "langfuse": "atlas.trajectories.formats.langfuse.traces:LangfuseFormat",
    "langchain": "atlas.trajectories.formats.langchain.states:LangChainFormat",
}
# Chats that many programs write: a row that another format recognizes too is of that format.
GENERAL_FORMATS = ("openai", "sharegpt")
# Exceptions that concern one row only.
_OF_A_ROW = (BadRowError, RecursionError, ValidationError)
FORMAT = Kind(
    "format",
    FORMATS,
    methods=("read",),
    expected={"read": _OF_A_ROW, "convert": _OF_A_ROW},
)
# Several rows are examined, because the first row may be unusual.
ROWS_TO_DETECT_FROM = 20
# Those that cannot be decoded included.
ROWS_TO_LOOK_AT = 1000


class Format(Protocol):
    """Reads one kind of file. One instance, made as `Class(settings)`, reads all files."""

    def matches(self, row: Any) -> bool:
        """Whether a decoded JSON row looks like this format; never raises, whatever the row is.

        Only the formats of the table are asked, and only where no format is named.
        """
        ...

    def read(self, source: SourceFile) -> Iterator[Item]:
        """Read the trajectories of an open file in order, and problems of other parts.

        Never raises because of the content of the file. Formats of JSON iterate over
        `source.rows()`; others read `source.file`.
        """
        ...


@runtime_checkable
class ClaimsFiles(Protocol):
    """A format of files that are not JSON, which it recognizes by their bytes."""

    def claims(self, source: SourceFile) -> bool:
        """Whether the file certainly has this format; never raises because of its content."""
        ...


class RowFormat:
    """Base of the formats in which a row holds one or several trajectories.

    The rows of a large file are converted by several processes, each with an instance of its own.

    Attributes:
        metadata: what no model saw or wrote, as paths from the root of a row: "info.stats", or
            "*.cost" at any place. A list is not a level of a path; all below a path belongs to it.
        parsed: paths of texts that `convert` takes apart, so that only their words come out.
    """

    metadata: ClassVar[tuple[str, ...]] = ()
    parsed: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: Config) -> None:
        self.config = config

    def convert(self, row: SourceRow) -> Converted | Iterable[Converted | Problem]:
        """The trajectory in a row, or those in it.

        Raises:
            BadRowError: the row is not what the format expects.
        """
        raise NotImplementedError

    def read(self, source: SourceFile) -> Iterator[Item]:
        return self.convert_all(source.rows(), source.ignored)

    def convert_all(
        self, rows: Iterable[SourceRow | Problem], ignored: tuple[str, ...]
    ) -> Iterator[Item]:
        """Lines and problems of rows; a row of which content would be lost is a problem."""
        return convert_rows(rows, self.convert, self.metadata, ignored, self.parsed)


def detect_format(source: SourceFile) -> str:
    """The name of the one format that recognizes the file's first rows.

    Raises:
        ConfigError: several formats claim the same row.
        DataError: no row can be read, or no format recognizes any of the first ones.
    """
    formats = _known_formats()
    claiming = [
        name
        for name, format_ in formats.items()
        if isinstance(format_, ClaimsFiles) and format_.claims(source)
    ]
    if claiming:
        return _only(claiming, source.name)
    first: SourceRow | None = None
    unreadable: Problem | None = None
    num_decoded = 0
    for number, row in enumerate(source.first_rows(), start=1):
        if isinstance(row, Problem):
            unreadable = unreadable or row
        else:
            first = first or row
            num_decoded += 1
            if names := formats_of(row.value):
                return _only(names, row.where)
        if num_decoded == ROWS_TO_DETECT_FROM or number == ROWS_TO_LOOK_AT:
            break
    if first is not None and is_token_row(first.value):
        raise DataError(f"{first.where}: {TOKENS_ONLY}.")
    if first is not None:
        raise DataError(
            f"{first.where} is {describe(first.value)}; no format reads that. "
            "Name one with --format, or your own as --format package.module:Format "
            "(docs/extending.md). "
            f"Known: {', '.join(sorted(FORMATS))}."
        )
    if unreadable is not None:
        raise DataError(f"{unreadable.where}: {unreadable.reason}")
    raise DataError(f"{source.name}: the file is empty, expected rows of JSON")


def formats_of(row: Any) -> list[str]:
    """The formats of the table that recognize a row; a general one only if no other does."""
    names = [name for name, format_ in _known_formats().items() if format_.matches(row)]
    return [name for name in names if name not in GENERAL_FORMATS] or names


def describe(value: Any) -> str:
    """A decoded JSON value in a few words, for an error message."""
    if isinstance(value, dict):
        if not value:
            return "an empty object"
        return f"an object with the keys {_short(sorted(map(str, value)))}"
    if isinstance(value, list):
        if not value:
            return "an empty list"
        return f"a list of {len(value)}, the first {describe(value[0])}"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    return f"{value!r}"[:60]


@cache
def _known_formats() -> dict[str, Format]:
    """One instance of each row of the table; reading a file leaves no trace in it."""
    return {name: FORMAT.make(Choice(name)) for name in FORMATS}


def _only(names: Sequence[str], where: str) -> str:
    if len(names) > 1:
        raise ConfigError(
            f"{where} looks like several formats: {', '.join(names)}. "
            "Say which it is with --format."
        )
    return names[0]


def _short(keys: Sequence[str]) -> str:
    return ", ".join(key[:40] for key in keys[:8]) + (", …" if len(keys) > 8 else "")
