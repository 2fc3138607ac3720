"""A model that atlas serves itself, with vLLM or another server, for as long as it plays."""

from __future__ import annotations

import gc
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from atlas.config import BY_CONTENT, SECRET, SPEED_ONLY
from atlas.errors import ModelError, ProgramError
from atlas.extras import find_program
from atlas.models.endpoints.endpoint import KEYLESS, Endpoint, read_key
from atlas.models.endpoints.endpoint_player import AnswersConfig, EndpointPlayer
from atlas.models.local.adapters import read_adapter
from atlas.models.local.load import ModelPlace, load_renderer, locate_model, model_input
from atlas.models.payments import Payment
from atlas.models.players import PlayerAnswer
from atlas.models.served.model_server import ModelServer, free_port
from atlas.rendering.chat_templates.stock import CHAT_TEMPLATE_HELP
from atlas.store.record_files import write_text
from atlas.store.run_folders import Input

PLACES = ("model", "base", "name", "port", "rank")
REQUIRED = ("model", "name", "port")
# A server that dies breaks its connections a moment before it has ended.
DYING_SECONDS = 0.5
# vLLM accepts certain maximum ranks only, among them the powers of 2 from here on.
SMALLEST_RANK = 8
TEMPLATE_FILE = "chat_template.jinja"
# Who answered, in the records of a run; the name at the server is another one for each server.
ANSWERED_BY = "served"
INSTALL = (
    "Install vLLM (pip install vllm) in this environment, or name another server by player.command."
)


class ServedEndpoint(Endpoint):
    """How a server that atlas started is asked."""

    api_key_variable: Annotated[str | None, SPEED_ONLY] = Field(
        default="ATLAS_SERVER_KEY",
        description="name of the environment variable that holds the server's key, if it has one",
    )
    timeout_seconds: Annotated[float, SPEED_ONLY] = Field(
        default=600.0, gt=0, description="time limit for one try"
    )
    max_in_flight: Annotated[int, SPEED_ONLY] = Field(
        default=64, ge=1, description="maximum number of requests at a time"
    )


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
    endpoint: ServedEndpoint = Field(
        default=ServedEndpoint(),
        description="how the server is asked; base_url is not given",
    )
    start_seconds: Annotated[float, SPEED_ONLY] = Field(
        default=1800.0,
        gt=0,
        description="how long the server may take until it answers",
    )

    @field_validator("command", "adapter_command")
    @classmethod
    def _has_its_places(cls, command: str) -> str:
        # Values that occur nowhere else show where they are written.
        marks = {place: f"\0{place}\0" for place in PLACES}
        written = ""
        for word in _split(command):
            try:
                written += word.format_map(marks)
            except (KeyError, ValueError, IndexError, AttributeError):
                known = ", ".join(f"{{{place}}}" for place in PLACES)
                raise ValueError(
                    f"has a word in braces that is not known: {word!r}. Expected some of {known}; "
                    "write other braces twice"
                ) from None
        if lost := [f"{{{place}}}" for place in REQUIRED if marks[place] not in written]:
            raise ValueError(
                f"lacks {', '.join(lost)}: the server must serve this {{model}} under this {{name}}"
                " and listen at this {port}"
            )
        return command

    @field_validator("command", "adapter_command", "options")
    @classmethod
    def _holds_no_key(cls, text: str | None) -> str | None:
        if any(word.startswith("--api-key") for word in _split(text or "-")):
            raise PydanticCustomError(
                SECRET,
                "holds a key, and configs are saved. Put it into an environment variable that the "
                "server reads (vLLM: VLLM_API_KEY), and name that by endpoint.api_key_variable",
            )
        return text

    @field_validator("endpoint")
    @classmethod
    def _has_no_address(cls, endpoint: ServedEndpoint) -> ServedEndpoint:
        if endpoint.base_url is not None:
            raise ValueError(
                "has a base_url, but this player starts its own server. Leave it out, or play with "
                "--player endpoint"
            )
        return endpoint

    def needed_extras(self) -> tuple[str, ...]:
        return ("endpoint",) if self.chat_template is None else ("endpoint", "train")

    def needed_programs(self) -> Mapping[str, str]:
        programs = {_split(command)[0] for command in (self.command, self.adapter_command)}
        # Of two programs, only one is used, and which one depends on the model.
        return dict.fromkeys(programs, INSTALL) if len(programs) == 1 else {}


class ServedPlayer:
    """A model on this machine that vLLM or another server plays; atlas starts and ends it.

    Raises:
        ConfigError: the given template cannot be used.
        ProgramError: the server's program is not installed.
        ModelError: the model cannot be found, or the server ended or does not answer.
    """

    Config = ServedPlayerConfig

    def __init__(
        self, config: ServedPlayerConfig, model: str, seed: int, server: ModelServer | None = None
    ) -> None:
        self._config, self._model, self._seed = config, model, seed
        self._server = server or _start_server(config, model)
        endpoint = config.endpoint.model_copy(update={"base_url": self._server.address})
        asked = config.model_copy(update={"endpoint": endpoint})
        try:
            client = EndpointPlayer(asked, self._server.name, seed)
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
            self._server.require_answering(DYING_SECONDS)
        return {name: _of_this_player(answer) for name, answer in answers.items()}

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


def _of_this_player(answer: PlayerAnswer) -> PlayerAnswer:
    usage = answer.usage
    if not isinstance(usage, Payment) or not usage.answered_by:
        return answer
    answered_by = {ANSWERED_BY: sum(usage.answered_by.values())}
    return replace(answer, usage=usage.model_copy(update={"answered_by": answered_by}))


def _of_server(config: ServedPlayerConfig) -> dict[str, Any]:
    """The settings that a running server cannot change."""
    return config.model_dump(include={"command", "adapter_command", "options", "chat_template"})


def _start_server(config: ServedPlayerConfig, model: str) -> ModelServer:
    place, port = locate_model(model), free_port()
    # Another server at this port has another name.
    name = f"atlas-{os.urandom(4).hex()}"
    key = read_key(config.endpoint.model_copy(update={"base_url": "http://127.0.0.1"}))
    words = server_command(config, place, name, port)
    program = find_program(words[0])
    if program is None:
        raise ProgramError(words[0], INSTALL)
    _free_gpus()
    with tempfile.TemporaryDirectory(prefix="atlas-served-") as folder:
        template = _template_of(config, place)
        if template is not None:
            file = Path(folder) / TEMPLATE_FILE
            write_text(file, template)
            words += ["--chat-template", str(file)]
        # A server has read the file when it answers.
        return ModelServer(
            [program, *words[1:]],
            model,
            name,
            port,
            None if key == KEYLESS else key,
            config.start_seconds,
        )


def server_command(
    config: ServedPlayerConfig, place: ModelPlace, name: str, port: int
) -> list[str]:
    """The program and its arguments that serve a model at `port` under `name`."""
    values = {"model": place.location, "base": place.location, "name": name, "port": str(port)}
    command = config.command
    if place.holds_adapters:
        command = config.adapter_command
        facts = read_adapter(Path(place.location))
        rank = 1 << (max(SMALLEST_RANK, facts.largest_rank) - 1).bit_length()
        values |= {"base": facts.base_model_name_or_path, "rank": str(rank)}
    words = [word.format_map({"rank": "", **values}) for word in _split(command)]
    return words + _split(config.options or "")


def _template_of(config: ServedPlayerConfig, place: ModelPlace) -> str | None:
    """The chat template that the server has to be given; None: the model has it in its folder."""
    # A server of adapters takes the template of the base model.
    if config.chat_template is None and not place.holds_adapters:
        return None
    template = load_renderer(place, config.chat_template).tokenizer.chat_template
    if not isinstance(template, str):
        raise ModelError(
            f"model {place.name} has several chat templates ({', '.join(template)}), and a server "
            "takes one. Give its file by player.chat_template."
        )
    return template


def _free_gpus() -> None:
    """Give back the GPU memory that an earlier training of this process holds for later ones."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise ValueError(f"cannot be split into words: {error}") from None
