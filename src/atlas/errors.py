"""Every error a user can cause, in one tree.

    AtlasError
    ├── ConfigError
    ├── DataError
    │   └── MismatchError
    ├── RunError
    │   └── RankError
    ├── ModelError
    │   └── EndpointError
    ├── HubError
    ├── CostLimitError
    ├── EpisodeError
    └── DependencyError
        └── ProgramError

Each message says what happened, where, what was expected and the next step. The command line prints
it without a traceback and exits with status 2.
"""

from __future__ import annotations

from typing import Any


def first_line(error: BaseException | str) -> str:
    """The first line of an error's message, for messages that name a cause."""
    return next(iter(str(error).strip().splitlines()), "")


class AtlasError(Exception):
    """Base of all errors that a user's input, files or machine can cause."""


class ConfigError(AtlasError):
    """An invalid recipe, option or override."""


class DataError(AtlasError):
    """A file, row or record with unexpected content."""


class MismatchError(DataError):
    """An exported file that does not supervise what the selected steps hold."""


class RunError(AtlasError):
    """A run folder that is missing, unfinished, or made with other settings or inputs."""


class RankError(RunError):
    """Another process of the same training failed. Only that process reports the reason."""


class ModelError(AtlasError):
    """A model, tokenizer or chat template that cannot be used."""


class EndpointError(ModelError):
    """A remote model that gave no usable answer after all retries.

    `paid` is the usage of its answers that could not be read, if it reported any.
    """

    paid: Any = None


class HubError(AtlasError):
    """The Hugging Face Hub rejected an upload. The run that made the model is kept."""


class CostLimitError(AtlasError):
    """A run has reached its cost limit. Finished work is kept; a higher limit continues it."""


class EpisodeError(AtlasError):
    """An environment that broke during one episode: recorded, never counted as reward 0."""


class DependencyError(AtlasError):
    """A package of an optional extra that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        # These arguments make the error picklable, so that it can be passed between processes.
        super().__init__(package, extra)

    def __str__(self) -> str:
        package, extra = self.args
        return (
            f"the package '{package}' is not installed. "
            f"Install it with: pip install 'atlas-tuning[{extra}]'"
        )


class ProgramError(DependencyError):
    """A program that is not installed, such as Java."""

    def __init__(self, program: str, advice: str) -> None:
        super().__init__(program, advice)

    def __str__(self) -> str:
        program, advice = self.args
        return f"the program '{program}' was not found. {advice}"
