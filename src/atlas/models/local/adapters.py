"""Low-rank adapters in a folder, as PEFT saves them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from atlas.errors import ModelError

ADAPTER_FILE = "adapter_config.json"


class AdapterFacts(BaseModel):
    """The part of a PEFT config that atlas reads itself."""

    base_model_name_or_path: str = Field(min_length=1)
    r: int = Field(default=1, ge=1)
    rank_pattern: dict[str, int] = Field(default_factory=dict)

    @property
    def largest_rank(self) -> int:
        """The rank of the largest adapter."""
        return max(self.r, *self.rank_pattern.values(), 1)


def read_adapter(folder: Path) -> AdapterFacts:
    """What the adapters in `folder` belong to.

    Raises:
        ModelError: their config is not usable.
    """
    file = folder / ADAPTER_FILE
    try:
        return AdapterFacts.model_validate_json(file.read_text(encoding="utf-8-sig"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        reason = f"{where}: {first['msg']}"
    except (OSError, UnicodeDecodeError) as error:
        reason = str(error)
    raise ModelError(
        f"{file} does not describe low-rank adapters of a base model: {reason}. Save them again "
        "with PEFT, or merge them into their base model."
    )
