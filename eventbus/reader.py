"""Reads a stream that is nobody's work queue: from the first message kept, each at least once.

A handler that raises gets its message again, later, for as long as it takes: what is read here never becomes a dead
letter itself.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

import nats.errors
from nats.aio.msg import Msg

from eventbus.bus import EventBus, Unpublished
from eventbus.pull import Puller
from eventbus.streams import provision_consumer, provision_streams
from mesh.errors import MeshError

log = logging.getLogger(__name__)

AGAIN_AFTER_S = 5.0
AT_ONCE_MAX = 64

# A broker or a database that is away for a while.
_FORESEEN = (nats.errors.Error, OSError, Unpublished, MeshError)


class Reader:
    """One durable reader of some subjects of a stream; replicas share it."""

    def __init__(
        self,
        bus: EventBus,
        stream: str,
        durable: str,
        subjects: Sequence[str],
        handle: Callable[[Msg], Awaitable[None]],
        ack_wait_s: float,
    ) -> None:
        self._bus = bus
        self._stream = stream
        self._durable = durable
        self._subjects = subjects
        self._handle = handle
        self._ack_wait_s = ack_wait_s

    async def run(self) -> None:
        """Reads until it is cancelled."""
        await self._bus.ready()
        puller = Puller(
            self._bus,
            self._stream,
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
            self._subjects,
            ack_wait_s=self._ack_wait_s,
            deliveries_max=-1,
            pending_max=AT_ONCE_MAX * 4,
            stream=self._stream,
        )

    async def _deliver(self, message: Msg) -> None:
        try:
            try:
                await self._handle(message)
            except Exception as error:
                unforeseen = None if isinstance(error, _FORESEEN) else error  # the others say all in a line
                log.warning("%s is not read yet: %s", message.subject, error, exc_info=unforeseen)
                await message.nak(delay=AGAIN_AFTER_S)
            else:
                await message.ack()
        except (nats.errors.Error, OSError) as error:
            log.debug("the broker was not answered: %s", error)
