"""Reads the dead letters of all services, from the first one kept; each at least once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg

from eventbus.bus import EventBus
from eventbus.dead_letters import DeadLetter
from eventbus.reader import Reader
from eventbus.streams import DEAD_LETTERS
from mesh.settings import Settings


class DeadLetterReader:
    """One durable reader; replicas share it. See eventbus.reader for what becomes of a letter."""

    def __init__(
        self, bus: EventBus, durable: str, handle: Callable[[DeadLetter], Awaitable[None]], settings: Settings
    ) -> None:
        async def read(message: Msg) -> None:
            metadata = message.metadata
            await handle(
                DeadLetter.read(
                    message.subject,
                    message.data,
                    message.headers,
                    id=metadata.sequence.stream,
                    died=metadata.timestamp,
                )
            )

        self._reader = Reader(bus, DEAD_LETTERS, durable, ["dead.>"], read, settings.ack_wait_s)

    async def run(self) -> None:
        """Reads until it is cancelled."""
        await self._reader.run()
