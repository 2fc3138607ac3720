"""A model that atlas serves itself, with vLLM or another server, for as long as it plays."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from atlas.config import BY_CONTENT, SPEED_ONLY
from atlas.models.endpoints.endpoint import Endpoint
from atlas.models.endpoints.endpoint_player import AnswersConfig, EndpointPlayer
from atlas.models.local.load import (
    ADAPTER_FILE,
    ModelPlace,
    load_renderer,
    locate_model,
    model_input,
)
from atlas.models.players import PlayerAnswer
from atlas.models.served.model_server import ModelServer, free_port
from atlas.rendering.chat_templates.stock import CHAT_TEMPLATE_HELP
from atlas.store.record_files import write_text
from atlas.store.run_folders import Input

# The model's name at the server.
NAME = "tuned"
PLACES = ("model", "base", "name", "port", "rank")
# vLLM accepts certain maximum ranks only, among them the powers of 2 from here on.
SMALLEST_RANK = 8
# A server that dies breaks its connections a moment before it has ended.
DYING_SECONDS = 0.5
TEMPLATE_FILE = "chat_template.jinja"


class ServedPlayerConfig(AnswersConfig):
    """Settings of a player that starts a server of its model."""

    command: str = Field(
        default="vllm serve {model} --host 127.0.0.1 --port {port} --served-model-name {name}",
        description="the program that serves the model at http://127.0.0.1:{port}/v1 under the "
        "name {name}; {model} is a folder or a hub id",
    )
    adapter_command: str = Field(
        default="vllm serve {base} --host 127.0.0.1 --port {port} --enable-lora "
        "--max-lora-rank {rank} --lora-modules {name}={model}",
        description="the same for low-rank adapters: {model} is their folder, {base} their base "
        "model, {rank} their rank, rounded up to a power of 2",
    )
    options: Annotated[str | None, SPEED_ONLY] = Field(
        default=None,
        description="more options of the server, such as `--tensor-parallel-size 4`; they must not "
        "change the answers",
    )
    chat_template: Annotated[str | None, BY_CONTENT] = Field(
        default=None,
        description=f"{CHAT_TEMPLATE_HELP}; the server gets it as --chat-template FILE",
    )
    endpoint: Endpoint = Field(
        default=Endpoint(max_in_flight=64, timeout_seconds=600.0),
        description="how the server is asked; base_url is not given",
    )
    start_seconds: Annotated[float, SPEED_ONLY] = Field(
        default=1800.0,
        gt=0,
        description="how long the server may take until it answers",
    )

    @field_validator("command", "adapter_command")
    @classmethod
    def _has_known_places(cls, command: str) -> str:
        words = _split(command)
        try:
            for word in words:
                word.format_map(dict.fromkeys(PLACES, ""))
        except (KeyError, ValueError, IndexError, AttributeError):
            known = ", ".join(f"{{{place}}}" for place in PLACES)
            raise ValueError(
                f"has a word in braces that is not known: {word!r}. Expected some of {known}; "
                "write other braces twice"
            ) from None
        if "{port}" not in command:
            raise ValueError("does not say where the server listens. Expected {port} in it")
        return command

    @field_validator("options")
    @classmethod
    def _can_be_split(cls, options: str | None) -> str | None:
        _split(options or "-")
        return options

    @field_validator("endpoint")
    @classmethod
    def _has_no_address(cls, endpoint: Endpoint) -> Endpoint:
        if endpoint.base_url is not None:
            raise ValueError(
                "has a base_url, but this player starts its own server. Leave it out, or play with "
                "--player endpoint"
            )
        return endpoint

    def needed_extras(self) -> tuple[str, ...]:
        return ("endpoint",) if self.chat_template is None else ("endpoint", "train")

    def needed_programs(self) -> Mapping[str, str]:
        advice = (
            "Install vLLM (pip install vllm) in this environment, or name another server by "
            "player.command."
        )
        return {_split(self.command)[0]: advice}


class ServedPlayer:
    """A model on this machine that vLLM or another server plays; atlas starts and ends it.

    Raises:
        ConfigError: the given template cannot be used, or a server cannot be started.
        ModelError: the model cannot be found, or the server ended or does not answer.
    """

    Config = ServedPlayerConfig

    def __init__(
        self, config: ServedPlayerConfig, model: str, seed: int, server: ModelServer | None = None
    ) -> None:
        self._config, self._model, self._seed = config, model, seed
        self._server = server or _start_server(config, model)
        endpoint = config.endpoint.model_copy(update={"base_url": self._server.address})
        try:
            client = EndpointPlayer(config.model_copy(update={"endpoint": endpoint}), NAME, seed)
        except BaseException:
            self._server.stop()
            raise
        self._client = client
        self.submit, self.close, self.wake = client.submit, client.close, client.wake

    @staticmethod
    def describe_model(model: str, out: Path) -> Input:
        """The model as an input of the run at `out`, with the digest of its files."""
        return model_input(model, out)

    def next_answers(self, timeout: float | None = None) -> dict[str, PlayerAnswer]:
        """The answers that are ready; an error if the server has ended."""
        answers = self._client.next_answers(timeout)
        if any(answer.finish == "broken" for answer in answers.values()):
            self._server.require_alive(DYING_SECONDS)
        return answers

    def reopened(self, settings: ServedPlayerConfig) -> ServedPlayer:
        """A player with other settings in place of this one, with the same server if they allow."""
        if _of_server(settings) != _of_server(self._config):
            self.end()
            return ServedPlayer(settings, self._model, self._seed)
        self._client.end()
        return ServedPlayer(settings, self._model, self._seed, self._server)

    def end(self) -> None:
        """Stop asking, and end the server."""
        self._client.end()
        self._server.stop()


def _of_server(config: ServedPlayerConfig) -> dict[str, Any]:
    """The settings that a running server cannot change."""
    return config.model_dump(include={"command", "adapter_command", "options", "chat_template"})


def _start_server(config: ServedPlayerConfig, model: str) -> ModelServer:
    place, port = locate_model(model), free_port()
    words = server_command(config, place, port)
    with tempfile.TemporaryDirectory(prefix="atlas-served-") as folder:
        template = _template_of(config, place)
        if template is not None:
            file = Path(folder) / TEMPLATE_FILE
            write_text(file, template)
            words += ["--chat-template", str(file)]
        # A server has read the file when it answers.
        return ModelServer(words, model, port, config.start_seconds)


def server_command(config: ServedPlayerConfig, place: ModelPlace, port: int) -> list[str]:
    """The program and its arguments that serve a model at `port`."""
    values = {"model": place.location, "base": place.location, "name": NAME, "port": str(port)}
    command = config.command
    if place.holds_adapters:
        command = config.adapter_command
        values |= _read_adapter(place)
    words = [word.format_map({"rank": "", **values}) for word in _split(command)]
    return words + _split(config.options or "")


def _template_of(config: ServedPlayerConfig, place: ModelPlace) -> str | None:
    """The chat template that the server has to be given; None: the model has it in its folder."""
    if config.chat_template is not None:
        tokenizer = load_renderer(place, config.chat_template).tokenizer
        return str(tokenizer.chat_template)
    own = Path(place.location) / TEMPLATE_FILE
    # A server of adapters takes the template of the base model.
    if place.holds_adapters and own.exists():
        return own.read_text(encoding="utf-8")
    return None


def _read_adapter(place: ModelPlace) -> dict[str, str]:
    file = Path(place.location) / ADAPTER_FILE
    settings = json.loads(file.read_text(encoding="utf-8"))
    ranks = [settings.get("r") or 1, *(settings.get("rank_pattern") or {}).values()]
    rank = max(SMALLEST_RANK, 1 << (max(ranks) - 1).bit_length())
    return {"base": str(settings["base_model_name_or_path"]), "rank": str(rank)}


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {error}") from None
