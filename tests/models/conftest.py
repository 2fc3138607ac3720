"""The fixtures of batch tests: each provider in turn, without real keys and long pauses."""

from __future__ import annotations

import pytest

from atlas.models.endpoints import inspect_api, retries
from tests.models.endpoints.batch_dialects import DIALECTS, Dialect


@pytest.fixture
def own_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    for dialect in DIALECTS:
        monkeypatch.delenv(dialect.key_variable, raising=False)
    monkeypatch.setattr(retries, "FIRST_PAUSE", 0.02)
    # The tests give the providers' addresses by variables, which users may not.
    monkeypatch.setattr(inspect_api, "_refuse_addresses_in_the_environment", lambda name: None)


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return request.param  # type: ignore[no-any-return]
