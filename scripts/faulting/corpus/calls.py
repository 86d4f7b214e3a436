"""gRPC: each method with everything that is no request of it, and what else can be wrong with a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2

from mesh import errors, registry
from mesh.contract import Contract, service_name
from mesh.settings import MESSAGE_BYTES_MAX
from scripts.faulting.corpus.rules import Broken, broken, without_saga
from scripts.faulting.corpus.samples import sample
from scripts.faulting.corpus.wire import NO_MESSAGE, invalid_utf8
from shop.orders.v1.order_pb2 import Order

PATIENCE_S = 10.0
AT_ONCE = 64

Code = grpc.StatusCode
INVALID, INVALID_MESSAGE = Code.INVALID_ARGUMENT, "INVALID_MESSAGE"


@dataclass(frozen=True)
class Call:
    """A call, and how it must be answered."""

    name: str
    part: str
    path: str
    body: bytes
    code: grpc.StatusCode
    reason: str = ""  # of the ErrorInfo; empty: gRPC answers before we do, or there is nothing to say
    field: str = ""  # which the BadRequest names
    metadata: Sequence[tuple[str, str | bytes]] = ()
    timeout_s: float = PATIENCE_S
    streams: bool = False


def calls(order: Order) -> list[Call]:
    """Every method of a mesh with everything that is no request of it. `order` is one that has ended."""
    contract = Contract.of_packages("shop")
    found: list[Call] = []
    for service in registry.service_descriptors("shop", "ensemble"):
        parts = [service_name(service)]
        if service.name == "LedgerService":  # which every service has
            parts = [service_name(one.full_name) for one in contract.services]
        for part in parts:
            for method in service.methods:
                known = contract.methods.get(method.full_name)
                takes_part = known is not None and known.participates
                found += _of_method(part, method, order, takes_part=takes_part)
            unknown, path = f"{part}: no method of {service.name}", f"/{service.full_name}/Nothing"
            found.append(Call(unknown, part, path, b"", Code.UNIMPLEMENTED))
    for part in dict.fromkeys(one.part for one in found):
        found += _of_part(part)
    return found


def _of_method(part: str, method: MethodDescriptor, order: Order, *, takes_part: bool) -> Iterator[Call]:
    service = method.containing_service.full_name
    path, streams = f"/{service}/{method.name}", bool(method.server_streaming)

    def call(
        how: str, body: bytes, code: grpc.StatusCode = INVALID, reason: str = INVALID_MESSAGE, at: str = ""
    ) -> Call:
        return Call(f"{part}.{method.name}: {how}", part, path, body, code, reason, at, streams=streams)

    for how, body in NO_MESSAGE.items():
        yield call(how, body)
    if (text := invalid_utf8(method.input_type)) is not None:
        yield call("a text that is no UTF-8", text)
    yield call("a message that is too large", bytes(MESSAGE_BYTES_MAX + 1), Code.RESOURCE_EXHAUSTED, "")
    good = sample(method.input_type, order)
    wrong: list[Broken] = [*broken(good), *(without_saga(good) if takes_part else ())]
    for one in wrong:
        yield call(f"{one.path} {one.how}", one.message.SerializeToString(), at=one.path)


def _of_part(part: str) -> Iterator[Call]:
    """What can be wrong with a call to a part beside its method and its request."""

    def call(how: str, path: str, code: grpc.StatusCode) -> Call:
        return Call(f"{part}: {how}", part, path, b"", code)

    yield call("no such service", "/shop.nowhere.v1.Nowhere/Nothing", Code.UNIMPLEMENTED)
    yield call("a path of one word", "/nothing", Code.UNIMPLEMENTED)
    yield call("a path of nothing", "/", Code.UNIMPLEMENTED)
    yield call("a path that goes up", "/../../etc/passwd", Code.UNIMPLEMENTED)
    yield call("the health of garbage", "/grpc.health.v1.Health/Nothing", Code.UNIMPLEMENTED)


async def give(address_of: Callable[[str], str], poisons: Iterable[Call]) -> list[str]:
    """Makes all calls; a line for each that was answered otherwise than it must be."""
    poisons = list(poisons)
    room = asyncio.Semaphore(AT_ONCE)
    # No channel of the mesh's own: those keep bad calls from being made.
    channels = {part: grpc.aio.insecure_channel(address_of(part)) for part in {one.part for one in poisons}}

    async def one(poison: Call) -> str:
        async with room:
            wrong = await _wrong(channels[poison.part], poison)
        return f"{poison.name}: {wrong}" if wrong else ""

    try:
        return [wrong for wrong in await asyncio.gather(*map(one, poisons)) if wrong]
    finally:
        await asyncio.gather(*(channel.close() for channel in channels.values()))


async def _wrong(channel: grpc.aio.Channel, poison: Call) -> str:
    try:
        if poison.streams:
            stream: Any = channel.unary_stream(poison.path)
            async for _ in stream(poison.body, metadata=poison.metadata, timeout=poison.timeout_s):
                break
        else:
            unary: Any = channel.unary_unary(poison.path)
            await unary(poison.body, metadata=poison.metadata, timeout=poison.timeout_s)
    except grpc.aio.AioRpcError as error:
        return _difference(error, poison)
    return "" if poison.code is Code.OK else f"was answered with OK, not {poison.code.name}"


def _difference(error: grpc.aio.AioRpcError, poison: Call) -> str:
    if error.code() is not poison.code:
        return f"was answered with {error.code().name}, not {poison.code.name}: {error.details()}"
    status = errors.status_of(error)
    info = errors.error_info_of(status)
    if poison.reason and (info is None or info.reason != poison.reason):
        return f"was answered for the reason {info.reason if info else None!r}, not {poison.reason}"
    if poison.field and poison.field not in (fields := _fields(status)):
        return f"was told that {fields} are wrong, not {poison.field}"
    return ""


def _fields(status: object) -> list[str]:
    for detail in status.details:  # type: ignore[attr-defined]  # a google.rpc.Status
        request = error_details_pb2.BadRequest()
        if detail.Unpack(request):
            return [violation.field for violation in request.field_violations]
    return []
