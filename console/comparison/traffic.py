"""How many messages and calls an order takes: counted where they are recorded, not computed.

Messages: what the stream EVENTS has stored more than before. Calls: what the orchestrator's journal says of its tries,
and one for the start. Neither the client's own calls are among them, nor acknowledgements, nor the tracker's reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import nats
from nats.aio.client import Client

from console.client import MeshClient
from ensemble.orchestrator.v1.orchestrator_pb2 import GetSagaRequest, Style
from eventbus.streams import EVENTS

READ_TIMEOUT_S = 5.0
AT_ONCE = 16
SETTLE_S = 0.2


class Messages:
    """What the stream of events has stored."""

    def __init__(self, client: Client) -> None:
        self._jetstream = client.jetstream()

    async def settled(self) -> int:
        """How many, ever, once no more come: an order has ended a little before its last event is stored."""
        before, now = -1, await self._count()
        while now != before:
            await asyncio.sleep(SETTLE_S)
            before, now = now, await self._count()
        return now

    async def _count(self) -> int:
        return int((await self._jetstream.stream_info(EVENTS)).state.last_seq)


@asynccontextmanager
async def messages(nats_url: str) -> AsyncIterator[Messages]:
    """A connection that counts."""
    client = await nats.connect(nats_url, name="compare")
    try:
        yield Messages(client)
    finally:
        await client.close()


async def calls(mesh: MeshClient, saga_ids: Iterable[str]) -> int:
    """How often parts of the mesh have called each other for these orders."""
    room = asyncio.Semaphore(AT_ONCE)

    async def of(saga_id: str) -> int:
        async with room:
            saga = (await mesh.orchestrator.GetSaga(GetSagaRequest(saga_id=saga_id), timeout=READ_TIMEOUT_S)).saga
        if saga.style != Style.STYLE_ORCHESTRATED:
            return 0  # what the tracker saw of it are events
        return 1 + sum(step.attempts for step in saga.steps)

    return sum(await asyncio.gather(*(of(saga_id) for saga_id in saga_ids)))
