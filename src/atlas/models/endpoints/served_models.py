"""Which models an OpenAI-compatible server serves."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from atlas.errors import ConfigError, ModelError
from atlas.models.endpoints.endpoint import Censor, Endpoint, is_loopback, read_key
from atlas.models.fetch import fetch

SECONDS = 10.0


def only_served_model(endpoint: Endpoint) -> str:
    """The name of the model at `endpoint.base_url`, if there is only one.

    Raises:
        ModelError: the server gives no list of models.
        ConfigError: it serves several models, or none.
    """
    names = served_models(endpoint)
    if len(names) == 1:
        return names[0]
    listed = ", ".join(names[:20]) or "none"
    raise ConfigError(
        f"{endpoint.base_url} serves {len(names)} models: {listed}. Name one by --model."
    )


def served_models(endpoint: Endpoint) -> list[str]:
    """The names of the models at `endpoint.base_url`."""
    assert endpoint.base_url is not None
    url = endpoint.base_url.rstrip("/") + "/models"
    key = read_key(endpoint)
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    censor = Censor([key])
    advice = "Check --base-url, or name the model by --model."
    # Without proxies for a server on this machine.
    handlers = [urllib.request.ProxyHandler({})] if is_loopback(url) else []
    try:
        opener = urllib.request.build_opener(*handlers)
        told: Any = json.loads(fetch(opener, request, SECONDS))
        return [censor.redact(str(each["id"])) for each in told["data"]]
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise ModelError(
            f"{url} does not list its models: {censor.quote(error)}. {advice}"
        ) from None
