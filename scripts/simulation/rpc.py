"""gRPC between simulated processes: what takes the place of grpc.aio's server and channel.

As much of both as the mesh uses, for unary calls; requests and answers travel as bytes, over a Network. What it has in
common with the real thing, and what the participants have to live with:
- a call without an answer ends as UNAVAILABLE (nobody is there, the connection broke) or as DEADLINE_EXCEEDED, and may
  have been done all the same;
- a caller that gives up, or dies, cancels the handler, if the cancellation gets there, and in time;
- a request that was held up, or came to a paused process, is served when its caller has long gone.

A watch of health is not modelled: a channel with several addresses goes to the next one that has a process listening.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import grpc.aio

from scripts.simulation.call import Details, SimulatedCall
from scripts.simulation.network import CONNECT_AGAIN_S, Network
from scripts.simulation.process import CURRENT, NOBODY, Process


class Rpc:
    """All servers and channels of a simulation."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._servers: dict[str, SimulatedServer] = {}
        self._calls: dict[SimulatedCall, None] = {}

    def server(self, _options: Any = ()) -> SimulatedServer:
        """In the place of grpc.aio.server."""
        return SimulatedServer(self)

    def channel(self, target: str, _options: Any = ()) -> SimulatedChannel:
        """In the place of grpc.aio.insecure_channel, for targets such as "ipv4:orders:1,orders:2"."""
        return SimulatedChannel(self, target.removeprefix("ipv4:").split(","))

    def listen(self, address: str, server: SimulatedServer) -> bool:
        """Takes an address; False where another process has it."""
        if self.listening(address) is not None:
            return False
        self._servers[address] = server
        return True

    def listening(self, address: str) -> SimulatedServer | None:
        """Who listens there."""
        server = self._servers.get(address)
        return server if server is not None and server.open else None

    def begin(self, call: SimulatedCall) -> None:
        """Sends a call."""
        self._calls[call] = None
        self.later(call.caller, call.receiver, call.arrive)

    def end(self, call: SimulatedCall) -> None:
        """Forgets a call."""
        self._calls.pop(call, None)

    def died(self, process: Process) -> None:
        """Breaks the connections of a process that is dead."""
        for call in list(self._calls):
            if call.served_by is process:
                self.later(call.receiver, call.caller, call.break_off, "the connection was reset")
            if call.process is process:
                self.later(call.caller, call.receiver, call.give_up)

    def later(self, sender: str, receiver: str, what: Callable[..., None], *arguments: Any) -> None:
        """Does something after as long as a message takes."""
        delay_s = self.network.delay_s(sender, receiver)
        asyncio.get_running_loop().call_later(delay_s, what, *arguments, context=NOBODY)


class SimulatedServer(grpc.aio.Server):
    """Serves what generic handlers it was given, in the process that made it."""

    def __init__(self, rpc: Rpc) -> None:
        process = CURRENT.get()
        assert process is not None, "a server belongs to a process"
        self.process = process
        self._rpc = rpc
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._serving: dict[asyncio.Task[None], None] = {}
        self._stopped = asyncio.Event()

    @property
    def open(self) -> bool:
        """Whether it takes calls; a paused process has a listening socket."""
        return self.process.alive and not self._stopped.is_set()

    def find(self, path: str, metadata: Any) -> Any:
        """The handler of a method; None where there is none."""
        details = Details(path, metadata)
        for handler in self._handlers:
            if (found := handler.service(details)) is not None:
                return found
        return None

    def serve(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Runs a handler in the process."""
        task = self.process.start(coroutine, name)
        self._serving[task] = None
        task.add_done_callback(lambda done: self._serving.pop(done, None))
        return task

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Any) -> None:
        """As grpc.aio.Server."""
        self._handlers.extend(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Any) -> None:
        """Nothing: they come as generic handlers, too."""

    def add_insecure_port(self, address: str) -> int:
        """As grpc.aio.Server; raises RuntimeError where the address is taken."""
        if not self._rpc.listen(address, self):
            raise RuntimeError(f"{address} is taken")
        return int(address.rpartition(":")[2])

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """Refuses."""
        raise NotImplementedError("no secrets in a simulation")

    async def start(self) -> None:
        """Nothing: it serves from its port on."""

    async def stop(self, grace: float | None) -> None:
        """Takes no new calls, and lets those under way finish for `grace` seconds."""
        self._stopped.set()
        if self._serving and grace:
            await asyncio.wait(list(self._serving), timeout=grace)
        for task in list(self._serving):
            task.cancel()

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109  # as grpc.aio
        """Returns once it was stopped."""
        await self._stopped.wait()
        return True


class SimulatedChannel(grpc.aio.Channel):
    """Calls whoever listens at its addresses, in turn."""

    def __init__(self, rpc: Rpc, addresses: list[str]) -> None:
        self.rpc = rpc
        self._addresses = addresses
        self._turn = 0

    def next_address(self) -> str:
        """Where the next call goes: to one that listens, if any does."""
        for _ in self._addresses:
            self._turn += 1
            address = self._addresses[self._turn % len(self._addresses)]
            if self.rpc.listening(address) is not None:
                return address
        return self._addresses[0]

    def unary_unary(  # type: ignore[override]  # generic over messages, as the base class is not
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, *_: Any, **__: Any
    ) -> Callable[..., SimulatedCall]:
        """As grpc.aio.Channel."""

        def call(
            request: Any,
            *,
            timeout: float | None = None,
            metadata: Any = (),
            wait_for_ready: bool | None = None,
            **_: Any,
        ) -> SimulatedCall:
            data = request_serializer(request) if request_serializer else request
            return SimulatedCall(
                self, method, data, timeout, tuple(metadata or ()), bool(wait_for_ready), response_deserializer
            )

        return call

    def unary_stream(self, method: str, *_: Any, **__: Any) -> Any:
        """Refuses when it is called."""
        return _no_stream(method)

    def stream_unary(self, method: str, *_: Any, **__: Any) -> Any:
        """Refuses when it is called."""
        return _no_stream(method)

    def stream_stream(self, method: str, *_: Any, **__: Any) -> Any:
        """Refuses when it is called."""
        return _no_stream(method)

    async def __aenter__(self) -> SimulatedChannel:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def close(self, grace: float | None = None) -> None:
        """Nothing: a connection costs nothing here."""

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Whether somebody listens."""
        ready = self.rpc.listening(self.next_address()) is not None
        return grpc.ChannelConnectivity.READY if ready else grpc.ChannelConnectivity.TRANSIENT_FAILURE

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Returns once it is another."""
        while self.get_state() is last_observed_state:  # noqa: ASYNC110  # whoever listens next tells nobody
            await asyncio.sleep(CONNECT_AGAIN_S)

    async def channel_ready(self) -> None:
        """Returns once somebody listens."""
        while self.get_state() is not grpc.ChannelConnectivity.READY:  # noqa: ASYNC110
            await asyncio.sleep(CONNECT_AGAIN_S)


def _no_stream(method: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise NotImplementedError(f"{method} streams, which the simulated network does not")

    return refuse
