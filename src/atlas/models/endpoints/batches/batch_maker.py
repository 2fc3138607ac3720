"""Makes each batch once, also if a response is lost or a process is killed meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from collections.abc import Set as AbstractSet

from atlas.errors import EndpointError
from atlas.models.endpoints.batches.batch_requests import BatchRequests
from atlas.models.endpoints.batches.ledger import BatchLedger, NotedBatch
from atlas.models.endpoints.batches.protocol import BatchProtocol, BatchRoute
from atlas.models.endpoints.http_error import HttpError


class AmbiguousBatchError(EndpointError):
    """Several batches may be the one whose id was lost."""


class BatchMaker:
    """Makes batches with `protocol`, and notes each in `ledger` before and after."""

    def __init__(
        self, protocol: BatchProtocol, requests: BatchRequests, ledger: BatchLedger
    ) -> None:
        self._protocol = protocol
        self._requests = requests
        self._ledger = ledger
        # Batches that an earlier process may have made when it was killed.
        self._planned = [noted for noted in ledger.read() if noted.id is None]

    async def adopt(self, route: BatchRoute, keys: AbstractSet[str]) -> AsyncIterator[NotedBatch]:
        """The batches that a killed process was making with any of these questions, if it did.

        Raises:
            EndpointError, HttpError: nothing shows whether one was made, or which it is.
        """
        for planned in list(self._planned):
            if keys.isdisjoint(planned.keys):
                continue
            try:
                id_ = await self._find(route, planned)
            except AmbiguousBatchError:
                self._forget(planned)
                raise
            if id_ is None:
                self._forget(planned)
            else:
                self._planned.remove(planned)
                yield self._ledger.made(planned, id_)

    async def make(self, route: BatchRoute, lines: Mapping[str, bytes]) -> NotedBatch:
        """Make a batch of lines, by key.

        A retry first looks for the batch: the request may have succeeded though its response was
        lost, and making the batch again would pay twice.

        Raises:
            EndpointError, HttpError: the batch could not be made.
        """
        contents = list(lines.values())
        handle = await self._protocol.prepare(route, contents)
        planned = self._ledger.plan(handle, list(lines))
        was_tried = False

        async def find_or_make() -> str:
            nonlocal was_tried
            found = await self._find(route, planned) if was_tried else None
            was_tried = True
            return found or await self._protocol.make(route, contents, handle)

        try:
            id_ = await self._requests.repeat(find_or_make)
        except (EndpointError, HttpError) as error:
            # After an EndpointError, the last try may have succeeded, too.
            may_exist = isinstance(error, EndpointError)
            found = await self._find(route, planned) if may_exist else None
            if found is None:
                self._ledger.forget(planned)
                raise
            id_ = found
        return self._ledger.made(planned, id_)

    async def _find(self, route: BatchRoute, planned: NotedBatch) -> str | None:
        """The id of a planned batch, if it was made."""
        noted = {noted.id for noted in self._ledger.read()}
        found = await self._protocol.find(route, len(planned.keys), planned.handle)
        own = [id_ for id_ in found if id_ not in noted]
        if len(own) > 1:
            choice = ", ".join(own)
            raise AmbiguousBatchError(f"it may be any of {choice}, and nothing shows which one")
        return own[0] if own else None

    def _forget(self, planned: NotedBatch) -> None:
        self._planned.remove(planned)
        self._ledger.forget(planned)
