"""One unary call between two simulated processes, on its way there and back.

    sent ── arrives ── served ── comes back ── answered
      │        │          │          │
      │        │          │          └ lost, or held: UNAVAILABLE, or the deadline passes
      │        │          └ the server dies: UNAVAILABLE; the caller gives up, or dies: the handler is cancelled
      │        └ nobody listens: UNAVAILABLE, or it waits for somebody
      └ cut off: sent again, as TCP does, and served when its caller has gone

Only `answered` is what the caller knows: from `sent` on the step may have been done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from scripts.simulation.network import CONNECT_AGAIN_S
from scripts.simulation.process import CURRENT, NOBODY, Process

if TYPE_CHECKING:
    from scripts.simulation.rpc import SimulatedChannel, SimulatedServer

# After so long without a sign of the other side, gRPC's keepalive gives a connection up (mesh.channel's settings).
KEEPALIVE_S = 13.0


class SimulatedCall:
    """One unary call, on both sides of the network. Awaited by its caller."""

    def __init__(
        self,
        channel: SimulatedChannel,
        path: str,
        request: bytes,
        timeout_s: float | None,
        metadata: tuple[tuple[str, Any], ...],
        waits: bool,
        deserialize: Callable[[bytes], Any] | None,
    ) -> None:
        self.process = CURRENT.get()
        self.caller = self.process.name if self.process else "customer"
        self.served_by: Process | None = None
        self._channel = channel
        self._rpc = channel.rpc
        self._address = channel.next_address()
        self._path = path
        self._request = request
        self._metadata = metadata
        self._waits = waits
        self._deserialize = deserialize
        self._handler: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[bytes] = loop.create_future()
        self._answer.add_done_callback(self._ended)
        self._timer = None
        self._until_s = None if timeout_s is None else loop.time() + timeout_s
        if timeout_s is not None:
            late = grpc.StatusCode.DEADLINE_EXCEEDED
            self._timer = loop.call_later(timeout_s, self._abandon, late, "Deadline Exceeded")
        self._keepalive = loop.call_later(
            KEEPALIVE_S + (timeout_s or 0.0), self._abandon, grpc.StatusCode.UNAVAILABLE, "ping timeout"
        )
        self._rpc.begin(self)

    @property
    def receiver(self) -> str:
        """The part that is called."""
        return self._address.partition(":")[0]

    # The caller's side

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            data = yield from self._answer.__await__()
        except asyncio.CancelledError:
            self._rpc.later(self.caller, self.receiver, self.give_up)
            raise
        return self._deserialize(data) if self._deserialize else data

    def cancel(self) -> bool:
        """As grpc.aio's."""
        self._rpc.later(self.caller, self.receiver, self.give_up)
        return self._answer.cancel()

    def break_off(self, why: str) -> None:
        """The caller is told that there will be no answer."""
        self._fail(grpc.StatusCode.UNAVAILABLE, why)

    def _abandon(self, code: grpc.StatusCode, why: str) -> None:
        if not self._answer.done():
            self._fail(code, why)
            self._rpc.later(self.caller, self.receiver, self.give_up)

    def _fail(self, code: grpc.StatusCode, details: str, trailing: Any = ()) -> None:
        if not self._answer.done():
            trailers = grpc.aio.Metadata.from_tuple(tuple(trailing))
            self._answer.set_exception(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details=details))

    def _succeed(self, data: bytes) -> None:
        if not self._answer.done():
            self._answer.set_result(data)

    def _ended(self, answer: asyncio.Future[bytes]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._keepalive.cancel()
        if not answer.cancelled():
            answer.exception()  # asked for, as nobody may await it any more

    # The server's side

    def arrive(self) -> None:
        """The request has come to the other side, or has not."""
        network = self._rpc.network
        if network.cut(self.caller, self.receiver):
            if not self._answer.done() or network.coin():  # it is sent again, by TCP, until the caller has given up
                asyncio.get_running_loop().call_later(CONNECT_AGAIN_S, self.arrive, context=NOBODY)
            return
        server = self._rpc.listening(self._address)
        if server is None:
            self._find_nobody()
            return
        if network.lost():
            self.break_off("the connection broke under the request")
            if network.coin():
                return
        self.served_by = server.process
        self._handler = server.serve(self._serve(server), f"{self._path} for {self.caller}")

    def give_up(self) -> None:
        """The caller is gone, and the handler is told so, unless the network keeps it to itself."""
        if self._rpc.network.cut(self.caller, self.receiver):
            return
        if self._handler is not None and self.served_by is not None and self.served_by.alive:
            self._handler.cancel()
        else:
            self._rpc.end(self)

    def _find_nobody(self) -> None:
        if self._answer.done():
            self._rpc.end(self)
        elif self._waits:
            self._address = self._channel.next_address()
            asyncio.get_running_loop().call_later(CONNECT_AGAIN_S, self.arrive, context=NOBODY)
        else:
            self.break_off("connection refused")
            self._rpc.end(self)

    async def _serve(self, server: SimulatedServer) -> None:
        handler = server.find(self._path, self._metadata)
        context = _Context(self._metadata, self._until_s)
        outcome: tuple[Any, ...]
        if handler is None:
            outcome = (self._fail, grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        else:
            try:
                decode, encode = handler.request_deserializer, handler.response_serializer
                serve = handler.unary_unary or handler.stream_unary  # what turns a call away asks for no request
                answer = await serve(decode(self._request) if decode else self._request, context)
                outcome = (self._succeed, encode(answer) if encode else answer)
            except grpc.aio.AbortError:
                outcome = (self._fail, context.code, context.details, context.trailing)
            except asyncio.CancelledError:
                outcome = (self._fail, grpc.StatusCode.CANCELLED, "CANCELLED")
        self._rpc.later(self.receiver, self.caller, self._come_back, *outcome)

    def _come_back(self, told: Callable[..., None], *outcome: Any) -> None:
        network = self._rpc.network
        self._rpc.end(self)
        if network.cut(self.receiver, self.caller):
            if not self._answer.done():
                asyncio.get_running_loop().call_later(CONNECT_AGAIN_S, self._come_back, told, *outcome, context=NOBODY)
        elif network.lost():
            self.break_off("the connection broke under the answer")
        else:
            told(*outcome)


class Details(grpc.HandlerCallDetails):
    """What a generic handler is asked for."""

    def __init__(self, method: str, invocation_metadata: Any) -> None:
        self.method = method
        self.invocation_metadata = invocation_metadata


class _Context:
    """As much of a grpc.aio context as the mesh uses."""

    def __init__(self, metadata: tuple[tuple[str, Any], ...], until_s: float | None) -> None:
        self._metadata = metadata
        self._until_s = until_s
        self.code = grpc.StatusCode.UNKNOWN
        self.details = ""
        self.trailing: Any = ()

    def invocation_metadata(self) -> tuple[tuple[str, Any], ...]:
        return self._metadata

    def time_remaining(self) -> float | None:
        if self._until_s is None:
            return None
        return max(0.0, self._until_s - asyncio.get_running_loop().time())

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        self.code, self.details, self.trailing = code, details, trailing_metadata
        raise grpc.aio.AbortError
