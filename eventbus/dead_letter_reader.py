"""Reads the dead letters of all services, from the first one kept; each at least once.

A handler that raises gets its letter again, later: a letter never becomes a dead letter itself.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import nats.errors
from nats.aio.msg import Msg

from eventbus.bus import EventBus
from eventbus.dead_letters import DeadLetter
from eventbus.pull import Puller
from eventbus.streams import DEAD_LETTERS, provision_consumer, provision_streams
from mesh.settings import Settings

log = logging.getLogger(__name__)

AGAIN_AFTER_S = 5.0
AT_ONCE_MAX = 64


class DeadLetterReader:
    """One durable reader; replicas share it."""

    def __init__(
        self, bus: EventBus, durable: str, handle: Callable[[DeadLetter], Awaitable[None]], settings: Settings
    ) -> None:
        self._bus = bus
        self._durable = durable
        self._handle = handle
        self._ack_wait_s = settings.ack_wait_s

    async def run(self) -> None:
        """Reads until it is cancelled."""
        await self._bus.ready()
        puller = Puller(
            self._bus.client,
            DEAD_LETTERS,
            self._durable,
            room=AT_ONCE_MAX,
            handle=self._deliver,
            provision=self._provision,
        )
        await puller.run()

    async def _provision(self) -> None:
        await provision_streams(self._bus.jetstream)
        await provision_consumer(
            self._bus.jetstream,
            self._durable,
            ["dead.>"],
            ack_wait_s=self._ack_wait_s,
            deliveries_max=-1,
            pending_max=AT_ONCE_MAX * 4,
            stream=DEAD_LETTERS,
        )

    async def _deliver(self, message: Msg) -> None:
        try:
            try:
                await self._handle(DeadLetter.read(message.subject, message.data, message.headers))
            except Exception:
                log.exception("a dead letter was not read: %s", message.subject)
                await message.nak(delay=AGAIN_AFTER_S)
            else:
                await message.ack()
        except (nats.errors.Error, OSError) as error:
            log.debug("the broker was not answered: %s", error)
