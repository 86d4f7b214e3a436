"""The pull protocol of JetStream, as its newer clients speak it (NATS ADR-37, "Simplified JetStream API").

nats-py's own `fetch(n)` waits for all n messages or its timeout once the first has come, so a lone event would wait
for seconds; and a fetch that times out can leave a request behind that captures messages (nats.py #933). Here one
request is open at a time, answered on a subject of its own; messages are handed on as they come; the broker's
heartbeats tell a quiet stream from a dead one.

At any moment: nothing is asked for (no room, or not connected), or one request is open. A request ends when all its
messages came, when the broker says so (expired, consumer deleted, …), when the heartbeats stop, or with its connection.
Then the consumer may be gone, so it is provisioned again before the next request. On a new connection the answers come
to a new subject: the request before, where the broker still has it, must not be answered beside the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from eventbus.bus import EventBus, end_where_cancelled
from eventbus.envelope import header

log = logging.getLogger(__name__)

EXPIRES_S = 30.0
HEARTBEAT_S = 2.0
_TICK_S = 0.5
# A consumer that was deleted is told of before it is gone, and one that is made meanwhile has its state, and so has
# nothing to read (nats-server 2.15, by test).
_GONE_S = 0.5
_ENDED_AS_PLANNED = {"404", "408"}  # nothing there; expired
_HEARTBEAT = "100"


class Puller:
    """Pulls the messages of one durable consumer and runs `handle` for each, at most `room` at once."""

    def __init__(
        self,
        bus: EventBus,
        stream: str,
        durable: str,
        *,
        room: int,
        handle: Callable[[Msg], Coroutine[Any, Any, None]],
        provision: Callable[[], Awaitable[None]],
    ) -> None:
        self._bus = bus
        self._client = bus.client
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._durable = durable
        self._room = room
        self._handle = handle
        self._provision = provision
        self._inbox = ""
        self._subscription: Subscription | None = None
        self._connection = 0  # the number of the one that the subscription was made on
        self._request = 0
        self._wanted = 0  # messages of the open request that have not come yet
        self._heard = 0.0
        self._lost = False
        self._lost_s = -math.inf  # when that was said
        self._working: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Pulls until it is cancelled; handlers under way are then finished."""
        try:
            while True:
                await self._step()
                end_where_cancelled()
                try:
                    async with asyncio.timeout(_TICK_S):
                        await self._wake.wait()
                except TimeoutError:
                    continue
                self._wake.clear()
        finally:
            await self._stop_listening()
            await asyncio.gather(*self._working, return_exceptions=True)

    async def _step(self) -> None:
        if self._wanted and self._now_s() - self._heard > 2 * HEARTBEAT_S:
            log.warning("%s: the broker is silent; asking again", self._durable)
            self._wanted, self._lost = 0, True
        if not self._client.is_connected:
            return
        try:
            if self._connection != self._bus.connections:
                await self._listen()
            if self._lost and self._now_s() - self._lost_s < _GONE_S:
                return
            if self._lost:
                await self._provision()
                self._lost = False
            free = self._room - len(self._working)
            if not self._wanted and free >= max(1, self._room // 4):
                await self._ask(free)
        except (nats.errors.Error, OSError) as error:
            self._lost = True
            log.warning("%s: cannot pull yet: %s", self._durable, error or type(error).__name__)

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()

    async def _listen(self) -> None:
        """On the present connection, which nothing is asked for yet; the consumer may not exist, or not any more."""
        connection = self._bus.connections
        await self._stop_listening()
        self._wanted, self._lost = 0, True
        self._inbox = self._client.new_inbox()
        self._subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._receive)
        self._connection = connection

    async def _stop_listening(self) -> None:
        if self._subscription is not None:
            with contextlib.suppress(nats.errors.Error, OSError):  # the connection may be gone, or go right now
                await self._subscription.unsubscribe()

    async def _ask(self, batch: int) -> None:
        self._request += 1
        self._wanted, self._heard = batch, self._now_s()
        request = {"batch": batch, "expires": int(EXPIRES_S * 1e9), "idle_heartbeat": int(HEARTBEAT_S * 1e9)}
        await self._client.publish(self._next, json.dumps(request).encode(), f"{self._inbox}.{self._request}")

    async def _receive(self, message: Msg) -> None:
        current = message.subject.endswith(f".{self._request}") or bool(message.reply)
        if current:
            self._heard = self._now_s()
        status = header(message.headers, "Status") if not message.reply else ""
        if not status:
            self._start(message)
        elif status != _HEARTBEAT and current:
            self._wanted = 0
            if status not in _ENDED_AS_PLANNED:
                self._lost, self._lost_s = True, self._now_s()
            self._wake.set()

    def _start(self, message: Msg) -> None:
        self._wanted = max(0, self._wanted - 1)
        task = asyncio.create_task(self._handle(message), name=f"{self._durable} handles {message.subject}")
        self._working.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._working.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: delivering failed", self._durable, exc_info=error)
        if not self._wanted:
            self._wake.set()
