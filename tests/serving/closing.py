"""An environment that counts how many of it are open."""

from __future__ import annotations

from tests.environments.push import PushConfig, PushEnvironment


class ClosingEnvironment(PushEnvironment):
    num_open = 0

    def __init__(self, config: PushConfig) -> None:
        super().__init__(config)
        ClosingEnvironment.num_open += 1

    def close(self) -> None:
        ClosingEnvironment.num_open -= 1
