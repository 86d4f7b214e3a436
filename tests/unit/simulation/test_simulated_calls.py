"""What may become of a gRPC call between two simulated processes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import grpc
import grpc.aio
import pytest

from scripts.simulation.loop import SimulationLoop
from scripts.simulation.network import Network
from scripts.simulation.process import Process
from scripts.simulation.rpc import Rpc, SimulatedChannel


class Shop:
    """A process that serves one method, which takes a second."""

    def __init__(self) -> None:
        self.network = Network(random.Random(1))
        self.rpc = Rpc(self.network)
        self.process = Process("inventory", 1)
        self.done: list[bytes] = []
        self.cancelled = 0

    async def open(self) -> SimulatedChannel:
        """Serves; returns a channel to it."""
        await self.process.start(self._serve(), "serve")
        return self.rpc.channel("ipv4:inventory:1")

    async def _serve(self) -> None:
        server = self.rpc.server()
        handlers = {"Reserve": grpc.unary_unary_rpc_method_handler(self._reserve)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Inventory", handlers),))
        server.add_insecure_port("inventory:1")

    async def _reserve(self, request: bytes, context: Any) -> bytes:
        if request == b"too many":
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "out of stock", (("why", "OUT_OF_STOCK"),))
        try:
            await asyncio.sleep(1.0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.done.append(request)
        return b"reserved " + request


def simulated(trial: Callable[[Shop], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def test() -> None:
        async def main() -> None:
            await trial(Shop())

        loop = SimulationLoop()
        try:
            loop.run_until_complete(main())
        finally:
            loop.close()

    test.__name__ = trial.__name__
    return test


async def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code()


@simulated
async def test_a_call_is_answered(shop: Shop) -> None:
    reserve = (await shop.open()).unary_unary("/Inventory/Reserve")
    assert await reserve(b"one") == b"reserved one"


@simulated
async def test_a_refusal_comes_with_its_details(shop: Shop) -> None:
    reserve = (await shop.open()).unary_unary("/Inventory/Reserve")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await reserve(b"too many")
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert (refused.value.details(), dict(refused.value.trailing_metadata())) == (
        "out of stock",
        {"why": "OUT_OF_STOCK"},
    )


@simulated
async def test_a_method_that_nobody_serves_is_unimplemented(shop: Shop) -> None:
    assert await code_of((await shop.open()).unary_unary("/Inventory/Fly")(b"")) is grpc.StatusCode.UNIMPLEMENTED


@simulated
async def test_where_nobody_listens_a_call_is_refused_or_waits(shop: Shop) -> None:
    channel = shop.rpc.channel("ipv4:inventory:1")
    reserve = channel.unary_unary("/Inventory/Reserve")
    assert await code_of(reserve(b"one")) is grpc.StatusCode.UNAVAILABLE
    waiting = asyncio.ensure_future(reserve(b"two", wait_for_ready=True))
    await asyncio.sleep(3.0)
    await shop.open()
    assert await waiting == b"reserved two"


@simulated
async def test_a_caller_that_gives_up_cancels_the_handler(shop: Shop) -> None:
    reserve = (await shop.open()).unary_unary("/Inventory/Reserve")
    assert await code_of(reserve(b"one", timeout=0.5)) is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.sleep(2.0)
    assert (shop.done, shop.cancelled) == ([], 1)


@simulated
async def test_a_server_that_dies_leaves_its_callers_in_doubt(shop: Shop) -> None:
    reserve = (await shop.open()).unary_unary("/Inventory/Reserve")
    call = asyncio.ensure_future(reserve(b"one"))
    await asyncio.sleep(0.5)
    shop.process.kill()
    shop.rpc.died(shop.process)
    assert await code_of(call) is grpc.StatusCode.UNAVAILABLE
    assert shop.cancelled == 0  # nothing runs in what is dead


@simulated
async def test_a_paused_server_serves_calls_whose_callers_are_gone(shop: Shop) -> None:
    reserve = (await shop.open()).unary_unary("/Inventory/Reserve")
    shop.process.pause()
    assert await code_of(reserve(b"one", timeout=0.5)) is grpc.StatusCode.DEADLINE_EXCEEDED
    shop.network.sever(("customer", "inventory"))  # so the cancellation does not get there
    await asyncio.sleep(1.0)
    assert shop.done == []
    shop.process.resume()
    await asyncio.sleep(2.0)
    assert shop.done == [b"one"]


@simulated
async def test_an_answer_that_is_cut_off_is_of_a_call_that_was_done(shop: Shop) -> None:
    reserve = (await shop.open()).unary_unary("/Inventory/Reserve")
    shop.network.sever(("inventory", "customer"))
    assert await code_of(reserve(b"one", timeout=2.0)) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert shop.done == [b"one"]


@simulated
async def test_an_unbounded_call_ends_with_the_connection(shop: Shop) -> None:
    reserve = (await shop.open()).unary_unary("/Inventory/Reserve")
    shop.network.sever(("inventory", "customer"))
    assert await code_of(reserve(b"one")) is grpc.StatusCode.UNAVAILABLE
