"""Settings of worlds at a server of AgentGym; importing them imports no HTTP package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from atlas.config import MAY_NAME_FILE, SPEED_ONLY, Config
from atlas.environments.agentgym.servers import SERVERS
from atlas.environments.instruction import INSTRUCTION_HELP, TextOrFile
from atlas.environments.paper.items import (
    AGENTEVAL_HELP,
    AGENTTRAJ_HELP,
    DROP_LEAKED_HELP,
    ItemSource,
)
from atlas.environments.paper.responses import CLIENT_HELP, WORDING_HELP, Client, Wording
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
    instruction: TextOrFile | None = Field(default=None, description=INSTRUCTION_HELP)
    rules_text: TextOrFile | None = Field(
        default=None,
        description="what precedes the first observation of maze and wordle ({words}: the words of "
        "the server): a text, a text file or a run folder of imported trajectories; if none, a "
        "short text of atlas",
    )
    agenttraj: ItemSource | None = Field(default=None, description=AGENTTRAJ_HELP)
    agenteval: ItemSource | None = Field(default=None, description=AGENTEVAL_HELP)
    drop_leaked: bool = Field(default=False, description=DROP_LEAKED_HELP)
    alfworld_mapping: Annotated[Path | None, MAY_NAME_FILE] = Field(
        default=None,
        description="the file mappings_train.json of AgentGym, which numbers AgentTraj's games",
    )
    wording: Wording = Field(
        default="server",
        description=WORDING_HELP + " (differs in textcraft, babyai and maze)",
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
