"""Creates each batch exactly once, even if a response is lost or the process is killed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from collections.abc import Set as AbstractSet

from atlas.errors import EndpointError
from atlas.models.endpoints.batches.batch_requests import BatchRequests
from atlas.models.endpoints.batches.ledger import BatchLedger, NotedBatch
from atlas.models.endpoints.batches.protocol import BatchProtocol, BatchRoute
from atlas.models.endpoints.http_error import HttpError


class BatchMaker:
    """Creates batches with `protocol`, and records each in `ledger` before and after."""

    def __init__(
        self, protocol: BatchProtocol, requests: BatchRequests, ledger: BatchLedger
    ) -> None:
        self._protocol = protocol
        self._requests = requests
        self.ledger = ledger
        # Batches that an earlier process was creating when it was killed.
        self._planned = [noted for noted in ledger.read() if noted.id is None]

    async def adopt(self, route: BatchRoute, keys: AbstractSet[str]) -> AsyncIterator[NotedBatch]:
        """Find batches that a killed process may have created with any of these questions.

        Raises:
            EndpointError, HttpError: it is not possible to find out whether a batch was created.
        """
        for planned in [each for each in self._planned if not keys.isdisjoint(each.keys)]:
            found = await self._find(route, planned)
            self._planned.remove(planned)
            if len(found) != 1:
                self.ledger.forget(planned)
            if id_ := _only(found):
                yield self.ledger.made(planned, id_)

    async def make(self, route: BatchRoute, lines: Mapping[str, bytes]) -> NotedBatch:
        """Create a batch of lines, which are given by key.

        A retry first looks for the batch. The request may have succeeded although its response was
        lost, and a second batch would be paid for too.

        Raises:
            EndpointError, HttpError: the batch could not be created.
        """
        contents = list(lines.values())
        handle = await self._protocol.prepare(route, contents)
        planned = self.ledger.plan(handle, list(lines))
        was_tried = False

        async def find_or_make() -> str:
            nonlocal was_tried
            found = _only(await self._find(route, planned)) if was_tried else None
            was_tried = True
            return found or await self._protocol.make(route, contents, handle)

        try:
            id_ = await self._requests.repeat(find_or_make)
        except (EndpointError, HttpError) as error:
            # After an EndpointError, the last try may have succeeded as well.
            may_exist = isinstance(error, EndpointError)
            found = _only(await self._find(route, planned)) if may_exist else None
            if found is None:
                self.ledger.forget(planned)
                raise
            id_ = found
        return self.ledger.made(planned, id_)

    async def _find(self, route: BatchRoute, planned: NotedBatch) -> list[str]:
        """The ids of batches that may be the planned one and are not in the ledger."""
        noted = {noted.id for noted in self.ledger.read()}
        found = await self._protocol.find(route, len(planned.keys), planned.handle)
        return [id_ for id_ in found if id_ not in noted]


def _only(found: list[str]) -> str | None:
    if len(found) > 1:
        choice = ", ".join(found)
        raise EndpointError(f"it may be any of {choice}, and nothing shows which one")
    return found[0] if found else None
