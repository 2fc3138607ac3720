"""Settings of worlds at a server of AgentGym; importing them imports no HTTP package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from atlas.config import SPEED_ONLY, Config
from atlas.environments.agentgym.servers import SERVERS
from atlas.environments.instruction import INSTRUCTION_HELP
from atlas.environments.paper.responses import CLIENT_HELP, Client
from atlas.lookup import nearest


class AgentGymConfig(Config):
    """Settings of AgentGym: which server, where it listens, and which of its tasks are played."""

    server: str = Field(description=f"what is served at the address: {', '.join(SERVERS)}")
    url: Annotated[str, SPEED_ONLY] = Field(
        description="where the server listens, such as http://127.0.0.1:36001"
    )
    max_steps: int | None = Field(
        default=None,
        ge=1,
        description="number of turns after which an episode is truncated; none: AgentGym's own",
    )
    instruction: str | None = Field(default=None, description=INSTRUCTION_HELP)
    rules_text: str | None = Field(
        default=None,
        description="what precedes the first observation of maze and wordle ({words}: the words of "
        "the server): a text, a text file or a run folder of imported trajectories; if none, a "
        "short text of atlas",
    )
    agenttraj: str | None = Field(
        default=None,
        description="the tasks of paper_train: AgentTraj's file, or numbers such as 0-99,120",
    )
    agenteval: str | None = Field(
        default=None,
        description="the tasks of paper_test: AgentEval's file, or numbers such as 0-99,120",
    )
    drop_leaked: bool = Field(
        default=False, description="leave the tasks of paper_train out of paper_test"
    )
    alfworld_mapping: Path | None = Field(
        default=None,
        description="the file mappings_train.json of AgentGym, which numbers AgentTraj's games",
    )
    wording: Literal["server", "agenttraj"] = Field(
        default="server",
        description="agenttraj: observations as in AgentTraj (textcraft: 'Instruction:' first; "
        "babyai: no list of actions; maze: a line break at the end)",
    )
    client: Client = Field(default=2025, description=CLIENT_HELP)
    timeout_seconds: Annotated[float, SPEED_ONLY] = Field(
        default=60.0, gt=0, description="time limit for one request"
    )
    restart_seconds: Annotated[float, SPEED_ONLY] = Field(
        default=30.0,
        ge=0,
        description="how long to wait for a server that accepts no connections, or answers 503",
    )

    @field_validator("server")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in SERVERS:
            raise ValueError(f"is not known. {nearest(value, SERVERS)}")
        return value

    @field_validator("agenttraj", "agenteval", mode="before")
    @classmethod
    def _is_one_number(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: Any) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an address such as http://127.0.0.1:36001")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("expected host, port and path only")
        return str(value).rstrip("/")

    def needed_extras(self) -> tuple[str, ...]:
        return ("agentgym",)
