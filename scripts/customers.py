"""Customers of a mesh in trouble: they ask until the answer is definite, and wait for the end of their orders."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import grpc.aio

from console.client import MeshClient
from mesh import errors
from mesh.backoff import Backoff
from shop.orders.v1.order_pb2 import Order, OrderStatus
from shop.orders.v1.orders_pb2 import CancelOrderRequest, WatchOrderRequest

T = TypeVar("T")

COMPLETED, COMPENSATED = OrderStatus.ORDER_STATUS_COMPLETED, OrderStatus.ORDER_STATUS_COMPENSATED
ENDED = (COMPLETED, COMPENSATED)
IN_TIME, TOO_LATE, UNDECIDED = "in time", "too late", "undecided"

# Orders of one line, of which each participant refuses one.
REFUSED: tuple[dict[str, Any], ...] = ({"sku": "never-in-stock"}, {"token": "tok_declined"}, {"country": "AQ"})

CALL_S = 10.0
PATIENCE_S = 60.0

# What another try may mend: the answer is in doubt, the part is overloaded, or the thing is not there yet.
PASSING = (*errors.IN_DOUBT, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.NOT_FOUND)


async def patiently(call: Callable[[], Awaitable[T]], *, within_s: float = PATIENCE_S) -> T:
    """Calls until the answer is definite; raises AioRpcError where it is an error, or after a while the last one."""
    deadline = time.monotonic() + within_s
    for delay_s in Backoff(first_s=0.02, max_s=1.0).delays():
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if error.code() not in PASSING or time.monotonic() > deadline:
                raise
        await asyncio.sleep(delay_s)
    raise AssertionError("delays never end")


async def cancel(mesh: Callable[[], MeshClient], order: Order, *, within_s: float = PATIENCE_S) -> str:
    """Cancels an order, as its customer may: IN_TIME or TOO_LATE."""
    request = CancelOrderRequest(order=order)
    try:
        await patiently(lambda: mesh().orders.CancelOrder(request, timeout=CALL_S), within_s=within_s)
    except grpc.aio.AioRpcError as error:
        info = errors.error_info_of(errors.status_of(error))
        if info is None or info.reason != "ALREADY_CONFIRMED":
            raise
        return TOO_LATE
    return IN_TIME


async def end_of(
    mesh: Callable[[], MeshClient], order_id: str, *, within_s: float = PATIENCE_S
) -> OrderStatus.ValueType:
    """Watches an order, across whatever happens to its service; its last status once it has ended, or after a while."""
    status = OrderStatus.ORDER_STATUS_UNSPECIFIED
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while status not in ENDED:
                with contextlib.suppress(grpc.aio.AioRpcError):  # it is not there yet, or its service is away
                    async for update in mesh().orders.WatchOrder(WatchOrderRequest(order_id=order_id)):
                        status = update.state.status
                await asyncio.sleep(0.02)
    return status


def right_ends(*, refused: bool, verdict: str) -> set[OrderStatus.ValueType]:
    """How an order may end that somebody refuses, and whose customer was told so of its cancellation."""
    if verdict == IN_TIME or refused:
        return {COMPENSATED}
    return {COMPLETED, COMPENSATED} if verdict == UNDECIDED else {COMPLETED}
