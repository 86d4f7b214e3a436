"""nats-py's own client, on the modelled broker in the place of a socket.

Everything above the wire is nats-py: subscriptions and their tasks, requests and their inboxes, validation, JetStream.
Below it stands a Connection. What happens to the client from outside:

    cut         the connection breaks; it connects again, as long as the broker runs and can be reached
    partition   the network holds what is sent, one way or both; after some pings without an answer the client gives the
                connection up, and then nothing of it reaches the broker before `heal`
    abandon     its process is killed: the connection ends without a word, and nothing goes in or out any more

A client belongs to the context in which it was made: its callbacks run there, and so do the tasks of its subscriptions.
While it is not connected it buffers what is published, up to `pending_size` bytes, and sends it afterwards, as nats-py.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import Any
from urllib.parse import urlparse

import nats.errors
from nats.aio.client import Client, Srv
from nats.aio.subscription import Subscription

from eventbus.envelope import headers_size
from eventbus.testing.broker import PAYLOAD_MAX_BYTES, ModelledBroker
from eventbus.testing.connection import Connection
from eventbus.testing.host import Headers
from eventbus.testing.link import Kind, Link, Perfect

VERSION = "2.15.1"  # of the server that the model was compared with

_NEWLINES = {13: " ", 10: " "}

Callback = Callable[[], Awaitable[None]]


class ModelledClient(Client):
    """What nats.aio.client.Client is to this project's code."""

    def __init__(self, broker: ModelledBroker, link: Link | None = None) -> None:
        super().__init__()
        self._nuid = _Names(broker)  # type: ignore[assignment]
        self._broker = broker
        self._link = link or Perfect()
        self._context = copy_context()
        self._connection: Connection | None = None
        self._zombies: list[Connection] = []  # given up, and not ended yet: the network is partitioned
        self._cut_off = (False, False)  # to the broker, from the broker
        self._abandoned = False
        self._expulsion: asyncio.Task[None] | None = None
        self._buffer: list[Callable[[Connection], None]] = []
        self._current_server = Srv(urlparse("nats://modelled"), server_version=VERSION)

    # -- what happens to it

    def cut(self) -> None:
        """The connection breaks, and both sides notice at once."""
        if self._connection is not None:
            self._connection.break_off()

    def partition(self, *, up: bool = True, down: bool = True) -> None:
        """Nothing reaches the broker any more (`up`), nothing comes from it (`down`), or both, until `heal`."""
        self._cut_off = (up, down)
        if self._connection is not None:
            self._connection.partition(up=up, down=down)
            patience_s = self.options["ping_interval"] * (self.options["max_outstanding_pings"] + 1)
            loop = asyncio.get_running_loop()
            loop.call_later(patience_s, self._give_up, self._connection, context=self._context)

    def heal(self) -> None:
        """The network is whole again: what it held arrives, late."""
        self._cut_off = (False, False)
        for connection in (*self._zombies, *([self._connection] if self._connection else ())):
            connection.heal()
        self._zombies.clear()

    def abandon(self) -> None:
        """Its process is killed. What the process still does reaches nobody; its tasks are for others to end."""
        self._abandoned = True
        self._buffer.clear()
        if self._reconnection_task is not None:
            self._reconnection_task.cancel()
        for subscription in self._subs.values():
            while not subscription._pending_queue.empty():
                subscription._pending_queue.get_nowait()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- connecting, as nats-py does

    async def connect(  # type: ignore[override]  # the options that have a meaning here
        self,
        servers: str | list[str] = "",
        *,
        name: str = "",
        allow_reconnect: bool = True,
        connect_timeout: float = 2,
        reconnect_time_wait: float = 2,
        max_reconnect_attempts: int = 60,
        ping_interval: float = 120,
        max_outstanding_pings: int = 2,
        pending_size: int = 2 * 1024 * 1024,
        drain_timeout: float = 30,
        error_cb: Callable[[Exception], Awaitable[None]] | None = None,
        disconnected_cb: Callback | None = None,
        reconnected_cb: Callback | None = None,
        closed_cb: Callback | None = None,
    ) -> None:
        """Connects, for as long as it takes."""
        self.options |= {
            "name": name,
            "allow_reconnect": allow_reconnect,
            "connect_timeout": connect_timeout,
            "reconnect_time_wait": reconnect_time_wait,
            "max_reconnect_attempts": max_reconnect_attempts,
            "ping_interval": ping_interval,
            "max_outstanding_pings": max_outstanding_pings,
            "drain_timeout": drain_timeout,
        }
        self._max_pending_size = pending_size
        self._max_payload = PAYLOAD_MAX_BYTES
        self._error_cb = error_cb or self._error_cb
        self._disconnected_cb, self._reconnected_cb, self._closed_cb = disconnected_cb, reconnected_cb, closed_cb
        self._connection = await self._dial()
        self._status = Client.CONNECTED

    async def _dial(self) -> Connection:
        """A new connection; tried for ever, or `max_reconnect_attempts` times."""
        attempts = 0
        while True:
            try:
                await self._shake_hands()
            except (OSError, TimeoutError) as error:
                await self._error_cb(error)
            else:
                return Connection(self._broker, self._link, self._context, self._receive, self._lose)
            attempts += 1
            if 0 <= self.options["max_reconnect_attempts"] < attempts:
                raise nats.errors.NoServersError
            await asyncio.sleep(self.options["reconnect_time_wait"])

    async def _shake_hands(self) -> None:
        if any(self._cut_off) or self._abandoned:
            await asyncio.sleep(self.options["connect_timeout"])
            raise TimeoutError
        await asyncio.sleep(sum((*self._link.arrivals(Kind.CONTROL, "")[:1], 0.0)))
        if not self._broker.running:
            raise ConnectionRefusedError("the broker does not run")

    def _lose(self) -> None:
        """The connection is gone: connect again."""
        self._connection = None
        if self.is_closed or self.is_reconnecting or self._abandoned:
            return
        if self._reconnection_task is not None:
            self._reconnection_task.cancel()
        self._status = Client.RECONNECTING
        # In the client's context, as this callback.
        self._reconnection_task = asyncio.create_task(self._attempt_reconnect(), name="connect to the broker again")

    def _give_up(self, connection: Connection) -> None:
        """Too many pings went unanswered."""
        if connection is self._connection and any(self._cut_off) and not self._abandoned:
            connection.close()
            self._zombies.append(connection)
            self._lose()

    async def _attempt_reconnect(self) -> None:
        if self._disconnected_cb is not None:
            await self._disconnected_cb()
        if not self.options["allow_reconnect"]:
            await self.close()
            return
        try:
            self._connection = connection = await self._dial()
        except nats.errors.NoServersError:
            await self.close()
            return
        for id, subscription in self._subs.items():
            connection.subscribe(id, subscription.subject)
        buffered, self._buffer, self._pending_data_size = self._buffer, [], 0
        for send in buffered:
            send(connection)
        self._status = Client.CONNECTED
        with contextlib.suppress(nats.errors.Error):
            await self.flush()
            if self._reconnected_cb is not None:
                await self._reconnected_cb()

    async def flush(self, timeout: float = 10) -> None:  # noqa: ASYNC109  # as nats-py has it
        """Waits until the broker has what was sent."""
        if self.is_closed:
            raise nats.errors.ConnectionClosedError
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def pong() -> None:
            if not arrived.done():
                arrived.set_result(None)

        if self._connection is not None:
            self._connection.ping(pong)
        try:
            async with asyncio.timeout(timeout):
                await arrived
        except TimeoutError:
            raise nats.errors.FlushTimeoutError from None

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        if self.is_closed:
            self._status = status
            return
        self._status = Client.CLOSED
        if self._reconnection_task is not None and self._reconnection_task is not asyncio.current_task():
            self._reconnection_task.cancel()
        await asyncio.sleep(0)  # those who wait for what came last get it
        for subscription in self._subs.values():
            subscription._stop_processing()
        self._subs.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if do_cbs and self._disconnected_cb is not None:
            await self._disconnected_cb()
        if do_cbs and self._closed_cb is not None:
            await self._closed_cb()
        self._resp_sub_prefix = None

    # -- what nats-py writes to its socket, and what it reads from it

    async def _send_publish(
        self, subject: str, reply: str, payload: bytes, payload_size: int, headers: dict[str, Any] | None
    ) -> None:
        if not subject:
            raise nats.errors.BadSubjectError
        written = None if headers is None else _written(headers)
        if payload_size + (headers_size(written) if written else 0) > self._max_payload:
            # The server ends the connection, and nats-py then does not make another.
            self._expulsion = asyncio.create_task(self._close(Client.CLOSED), name="the broker ends the connection")
            return
        self._send(lambda connection: connection.publish(subject, reply, written, payload), payload_size)

    async def _send_subscribe(self, sub: Subscription) -> None:
        if sub.queue:
            raise NotImplementedError("the modelled broker knows no queue groups")
        if self._connection is not None:  # if not, it is subscribed with all others on the next connection
            self._connection.subscribe(sub._id, sub.subject)

    async def _send_unsubscribe(self, sid: int, limit: int = 0) -> None:
        if limit == 0 and self._connection is not None:  # a limit is kept on this side
            self._connection.unsubscribe(sid)

    def _send(self, send: Callable[[Connection], None], size: int) -> None:
        if self._abandoned:
            return
        if self._connection is not None and self.is_connected:
            send(self._connection)
        else:
            self._buffer.append(send)
            self._pending_data_size += size

    def _receive(self, id: int, subject: str, reply: str, headers: Headers | None, body: bytes) -> None:
        subscription = self._subs.get(id)
        if subscription is None or self._abandoned:
            return
        subscription._received += 1
        if 0 < subscription._max_msgs <= subscription._received:
            del self._subs[id]
        message = self.msg_class(_client=self, subject=subject, reply=reply, data=body, headers=headers, _sid=id)
        if subscription._future is not None:
            if not subscription._future.done():
                subscription._future.set_result(message)
        else:
            subscription._pending_size += len(body)
            subscription._pending_queue.put_nowait(message)


class _Names:
    """Names that nobody else has, for inboxes: nats-py's are drawn from the machine's own chance."""

    def __init__(self, broker: ModelledBroker) -> None:
        self._broker = broker

    def next(self) -> bytearray:
        """As long as those of nats-py."""
        return bytearray(f"{self._broker.next_name():022d}", "ascii")


def _written(headers: dict[str, Any]) -> Headers:
    """Headers as they come out at the other end: without blanks around them, in one line each."""
    return {name.strip(): value.strip().translate(_NEWLINES) for name, value in headers.items() if name.strip()}
