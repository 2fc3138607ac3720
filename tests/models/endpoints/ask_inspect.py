"""InspectClient against a loopback server with OpenAI's protocol.

inspect_ai takes the address of such a server, and its key, only from the environment.
"""

from __future__ import annotations

import os
from typing import Any
from unittest.mock import patch

from atlas.models.endpoints.endpoint import DEFAULT_VARIABLE, KEYLESS, Endpoint
from atlas.models.endpoints.inspect_api import InspectClient

MODEL = "openai-api/server/test-model"


def open_inspect(url: str, **settings: Any) -> InspectClient:
    key = os.environ.get(settings.get("api_key_variable") or DEFAULT_VARIABLE, KEYLESS)
    with patch.dict(os.environ, {"SERVER_BASE_URL": url, "SERVER_API_KEY": key}):
        return InspectClient(MODEL, Endpoint(**settings))
