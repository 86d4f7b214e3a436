"""A connection of a client: two pipes, one each way.

A pipe is a stream of bytes. What goes in comes out in order, after the time that the link takes. Where the network is
partitioned it holds what goes in (as TCP does, which sends it again and again) and lets it out when the network is
whole; when the connection breaks, what is under way is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from eventbus.testing.host import Headers
from eventbus.testing.link import Kind, Link

if TYPE_CHECKING:
    from eventbus.testing.broker import ModelledBroker


Arrive = Callable[..., None]


class Pipe:
    """One direction. What comes out is called in the context of the side that it comes out at."""

    def __init__(self, link: Link, context: Context) -> None:
        self._link = link
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._last_s = 0.0  # when the last of what is under way arrives: nothing overtakes it
        self._under_way: deque[tuple[Arrive, tuple[Any, ...]]] = deque()
        self._held: list[tuple[Kind, str, Arrive, tuple[Any, ...]]] | None = None
        self._open = True

    def send(self, kind: Kind, subject: str, arrive: Arrive, *arguments: Any) -> None:
        """Calls `arrive` at the other end, as often as the link lets it arrive."""
        if not self._open:
            return
        if self._held is not None:
            self._held.append((kind, subject, arrive, arguments))
            return
        arrivals = self._link.arrivals(kind, subject)
        if kind is Kind.CONTROL:
            arrivals = arrivals[:1] or (0.0,)
        if not arrivals:
            return
        now_s = self._loop.time()
        self._last_s = max(self._last_s, now_s + arrivals[0])
        # A timer stands for whatever is next then: those of the same time may ring in any order.
        self._under_way.append((arrive, arguments))
        if self._last_s > now_s:
            self._loop.call_at(self._last_s, self._next_arrives, context=self._context)
        else:
            self._loop.call_soon(self._next_arrives, context=self._context)
        for delay_s in arrivals[1:]:
            self._loop.call_at(now_s + delay_s, self._copy_arrives, arrive, arguments, context=self._context)

    def hold(self) -> None:
        """The network is partitioned."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """It is whole again."""
        held, self._held = self._held or [], None
        for kind, subject, arrive, arguments in held:
            self.send(kind, subject, arrive, *arguments)

    def close(self) -> None:
        """What is under way is lost."""
        self._open = False
        self._held = None
        self._under_way.clear()

    def _next_arrives(self) -> None:
        if self._under_way:
            arrive, arguments = self._under_way.popleft()
            arrive(*arguments)

    def _copy_arrives(self, arrive: Arrive, arguments: tuple[Any, ...]) -> None:
        if self._open:
            arrive(*arguments)


class Connection:
    """Of one client, from when it was made to when it ends or breaks."""

    def __init__(
        self,
        broker: ModelledBroker,
        link: Link,
        context: Context,
        receive: Callable[..., None],
        lost: Callable[[], None],
    ) -> None:
        self.subscriptions: dict[int, str] = {}  # as far as the broker knows
        self._broker = broker
        self._receive = receive
        self._lost = lost
        self._context = context
        self._up = Pipe(link, broker.context)
        self._down = Pipe(link, context)
        broker.accept(self)

    # -- the client's side

    def publish(self, subject: str, reply: str, headers: Headers | None, body: bytes) -> None:
        """Sends a message."""
        if subject.startswith("$JS.ACK."):
            kind = Kind.ACK
        elif subject.startswith("$JS.API."):
            kind = Kind.REQUEST
        else:
            kind = Kind.PUBLISH
        self._up.send(kind, subject, self._broker.publish, subject, reply, headers, body)

    def subscribe(self, id: int, pattern: str) -> None:
        """Listens."""
        self._up.send(Kind.CONTROL, pattern, self._broker.subscribe, self, id, pattern)

    def unsubscribe(self, id: int) -> None:
        """And does not any more."""
        self._up.send(Kind.CONTROL, "", self._broker.unsubscribe, self, id)

    def ping(self, pong: Callable[[], None]) -> None:
        """Is answered once all that was sent before has arrived, and all that was to be received has come."""
        self._up.send(Kind.CONTROL, "", self._down.send, Kind.CONTROL, "", pong)

    def close(self) -> None:
        """Ends it from the client's side: what was sent still arrives, what would come is lost."""
        self._down.close()
        self._up.send(Kind.CONTROL, "", self._ended)

    # -- the network

    def partition(self, *, up: bool, down: bool) -> None:
        """Holds what goes to the broker, what comes from it, or both."""
        for pipe, held in ((self._up, up), (self._down, down)):
            if held:
                pipe.hold()

    def heal(self) -> None:
        """The network is whole again."""
        self._up.release()
        self._down.release()

    # -- the broker's side

    def deliver(self, kind: Kind, subject: str, id: int, reply: str, headers: Headers | None, body: bytes) -> None:
        """Sends a message to one of the client's subscriptions."""
        self._down.send(kind, subject, self._receive, id, subject, reply, headers, body)

    def break_off(self) -> None:
        """It breaks: what is under way is lost both ways, and the client notices at once."""
        self._up.close()
        self._down.close()
        self._broker.forget(self)
        asyncio.get_running_loop().call_soon(self._lost, context=self._context)

    def _ended(self) -> None:
        self._up.close()
        self._broker.forget(self)
