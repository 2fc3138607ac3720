"""Which tokenizers the page of tokens may load: `name in an address -> model`.

A page of another site can send a browser to any address of the viewer. So a folder must be one that
the viewer was started with, and a hub id that nobody has offered is loaded only if a page of the
viewer, or a person, asked for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import ConfigError
from atlas.viewing.web.context import AppContext

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
OWN_SITES = ("same-origin", "none")


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """A model of the runs that are shown. `name` stands in addresses."""

    name: str
    title: str
    location: str


def offered_models(context: AppContext) -> tuple[OfferedModel, ...]:
    """What the viewer was started with, the checkpoints, and the models of evaluations."""
    found: list[OfferedModel] = []
    if (given := context.config.tokenizer) is not None:
        found.append(OfferedModel(given, given, given))
    for source in context.library.of_kind("checkpoint"):
        if not source.is_partial:
            found.append(OfferedModel(source.key, source.title, str(source.path)))
    for source in context.library.sources:
        if source.model is not None:
            folder = source.path / source.model
            known = {Path(one.location).resolve() for one in found}
            if folder.is_dir() and folder.resolve() not in known:
                title = f"model of {source.key}"
                found.append(OfferedModel(f"{source.key}.model", title, str(folder.resolve())))
            elif not folder.exists() and _HUB_ID.fullmatch(source.model):
                found.append(OfferedModel(source.model, source.model, source.model))
    return tuple({one.name: one for one in reversed(found)}.values())[::-1]


def choose_model(
    context: AppContext, name: str, headers: Mapping[str, str], *, is_expensive: bool
) -> OfferedModel:
    """The model that an address names.

    Args:
        is_expensive: whether its weights are loaded, too.

    Raises:
        ConfigError: it may not be loaded.
    """
    offered = {one.name: one for one in offered_models(context)}
    chosen = offered.get(name)
    if (chosen is None or is_expensive) and headers.get("sec-fetch-site", "none") not in OWN_SITES:
        raise ConfigError(
            f"tokenizer '{name}': another site asked for it. Open the page of the trajectory, and "
            "choose it there."
        )
    if chosen is not None:
        return chosen
    if not _HUB_ID.fullmatch(name) or Path(name).exists():
        raise ConfigError(
            f"tokenizer '{name}': expected the id of a model on the Hugging Face hub, or one of "
            f"{', '.join(offered) or 'the runs of train, of which none is shown'}. A folder is "
            "given when the viewer starts: atlas view RUN tokenizer=FOLDER."
        )
    return OfferedModel(name, name, name)
