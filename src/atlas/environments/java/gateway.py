"""A py4j gateway that sends each command once and logs nothing. Imports py4j.

py4j's own client sends a command again after some failures, so that a step might be played twice,
and writes the failures of a process that ended to the root logger.
"""

from __future__ import annotations

from typing import Any

from py4j.java_gateway import GatewayClient, GatewayParameters, JavaGateway
from py4j.protocol import Py4JNetworkError


class OnceClient(GatewayClient):
    """Sends each command once."""

    def send_command(self, command: str, retry: bool = False, binary: bool = False) -> Any:
        """The answer to a command. Raises Py4JNetworkError if there is none."""
        connection = self._get_connection()
        try:
            answer = connection.send_command(command)
        except Py4JNetworkError:
            connection.close()
            raise
        self._give_back_connection(connection)
        return answer

    def hang_up(self) -> None:
        """Close the idle connections without a word to Java, and open no more."""
        self.is_connected = False
        while self.deque:
            self.deque.pop().close()


class Gateway(JavaGateway):
    """A gateway to a server on loopback that asks for a token."""

    def __init__(self, port: int, token: str) -> None:
        parameters = GatewayParameters(port=port, auth_token=token, auto_field=True)
        super().__init__(gateway_parameters=parameters)

    def _create_gateway_client(self) -> OnceClient:
        return OnceClient(gateway_parameters=self.gateway_parameters)
