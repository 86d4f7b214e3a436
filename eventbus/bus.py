"""The connection to the broker.

Delivery contract: `publish` returns when the event is stored by the broker, once or (after a timeout) perhaps more
than once; the broker's dedupe window swallows most repetitions, and the ledgers of the consumers all of them.
When it raises Unpublished the event is in doubt: publish it again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NoStreamResponseError

from eventbus.envelope import Envelope, headers_size, microseconds
from eventbus.streams import EVENTS, provision_streams
from mesh.backoff import Backoff

log = logging.getLogger(__name__)

# A publish in flight when the broker dies waits its whole timeout: keep it short, and try again.
PUBLISH_TIMEOUT_S = 2.0
RECONNECT_WAIT_S = 0.2
CLOSE_S = 2.0
PING_INTERVAL_S = 5


@dataclass(frozen=True)
class Extent:
    """What the stream EVENTS holds: sequences of its first and last message, first = last + 1 where there are none."""

    created_us: int  # microseconds since the epoch
    first: int
    last: int


class Unpublished(Exception):
    """The broker did not say that it stored the event; publish it again."""


def end_where_cancelled() -> None:
    """To be called after a request to the broker, in what goes on until it is cancelled.

    Python 3.11's `asyncio.wait_for`, which nats-py asks with, loses a cancellation that comes with the answer (3.12's
    does not). What is asked of EventBus does so itself.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class EventBus:
    """One process's connection. It connects by itself, for as long as it takes, and again after every loss."""

    def __init__(self, url: str, name: str, client: Client | None = None) -> None:
        """Without a client of its own it makes one; another is for simulation (eventbus.testing)."""
        self._url = url
        self._name = name
        self.client = Client() if client is None else client
        self.jetstream: JetStreamContext = self.client.jetstream(timeout=PUBLISH_TIMEOUT_S)
        self.connections = 1  # the present one's number
        self._ready = asyncio.Event()
        self._connecting = False
        self._closing = False
        self._provisioning: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Connects and provisions the streams; returns once both are done. A side task of the process."""
        self._connecting = True
        await self.client.connect(
            self._url,
            name=self._name,
            max_reconnect_attempts=-1,  # the default gives up after 60 and closes for good
            reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # typed int, slept as it is
            connect_timeout=2,
            ping_interval=PING_INTERVAL_S,
            max_outstanding_pings=2,
            error_cb=_log_error,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
        )
        await self._provision()
        self._ready.set()

    async def _provision(self) -> None:
        for delay_s in Backoff(max_s=2.0).delays():
            try:
                await provision_streams(self.jetstream)
                return
            except (nats.errors.Error, OSError) as error:
                log.warning("the streams cannot be provisioned yet: %s", error or type(error).__name__)
                await asyncio.sleep(delay_s)

    def _provision_again(self) -> None:
        """The broker may have come back with an empty disk, and somebody may have deleted a stream."""
        if self._ready.is_set() and not self._closing and (self._provisioning is None or self._provisioning.done()):
            self._provisioning = asyncio.create_task(self._provision(), name="provision the streams")

    async def ready(self) -> None:
        """Returns once the streams exist."""
        await self._ready.wait()

    @property
    def connected(self) -> bool:
        """Whether there is a broker, as far as is known: one that hangs is missed after a few pings."""
        return bool(self.client.is_connected)

    async def publish(self, envelope: Envelope) -> None:
        """Stores an event; raises Unpublished."""
        await self.publish_raw(envelope.subject, envelope.body, envelope.headers())

    async def publish_raw(self, subject: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Stores a message with these headers; raises Unpublished."""
        if not self.client.is_connected:
            raise Unpublished(f"{subject}: not connected to {self._url}")
        if (size := len(body) + headers_size(headers)) > self.client.max_payload:
            # The broker would end the connection, and nats-py would not make another.
            raise Unpublished(
                f"{subject}: {size} bytes are more than the {self.client.max_payload} that the broker takes"
            )
        try:
            await self.jetstream.publish(subject, body, headers=dict(headers), timeout=PUBLISH_TIMEOUT_S)
            end_where_cancelled()
        except NoStreamResponseError as error:
            self._provision_again()
            raise Unpublished(f"{subject}: there is no stream that takes it") from error
        except (nats.errors.Error, OSError) as error:
            # A forbidden publish looks like a timeout too; the server's reason stands in our log, by _log_error.
            raise Unpublished(f"{subject}: {error or type(error).__name__}") from error

    async def extent(self) -> Extent | None:
        """What the stream holds now; None where the broker does not say."""
        if not self.client.is_connected:
            return None
        try:
            info = await self.jetstream.stream_info(EVENTS)
            end_where_cancelled()
        except (nats.errors.Error, OSError):
            return None
        return Extent(microseconds(info.created), info.state.first_seq, info.state.last_seq)

    async def close(self) -> None:
        """Ends the connection, within CLOSE_S even where the broker does not answer; what was published is sent."""
        self._closing = True
        if self._provisioning is not None:
            self._provisioning.cancel()
        if not self._connecting:
            return
        # Not drain(): it raises while reconnecting, and swallows a cancellation and waits ten seconds where the
        # broker hangs. Every publication has been waited for, so there is nothing to drain.
        closing = asyncio.create_task(self.client.close(), name="close the connection")
        await asyncio.wait({closing}, timeout=CLOSE_S)

    async def _disconnected(self) -> None:
        if not self._closing:
            log.warning("the connection to the broker is lost; reconnecting")

    async def _reconnected(self) -> None:
        log.info("connected to the broker again")
        self.connections += 1
        self._provision_again()


async def _log_error(error: Exception) -> None:
    log.warning("broker: %s", error or type(error).__name__)
