"""A caller is told all of our errors, and nothing of anybody else's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc._cython import cygrpc

from mesh import errors
from shop.notifications.v1.notifications_pb2 import ListNotificationsResponse, NotifyCustomerRequest
from tests.builders import an_order
from tests.unit.mesh.serving import LIST, NOTIFY, SECRET, WATCH, Serving, failure, serving


@pytest.fixture
async def server() -> AsyncIterator[Serving]:
    async with serving() as server:
        yield server


def violations(error: grpc.aio.AioRpcError) -> list[str]:
    """The fields of a BadRequest among the details."""
    found = error_details_pb2.BadRequest()
    for detail in errors.status_of(error).details:
        detail.Unpack(found)
    return [one.field for one in found.field_violations]


def everything_told(error: grpc.aio.AioRpcError) -> str:
    return f"{error.details()} {error.debug_error_string()} {error.trailing_metadata()} {errors.status_of(error)}"


def reason(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    info = errors.error_info_of(errors.status_of(error))
    return (info.reason, info.domain) if info else ("", "")


async def test_a_good_call_is_answered(server: Serving) -> None:
    response = ListNotificationsResponse.FromString(await server.list("o-1"))
    assert [one.order_id for one in response.notifications] == ["o-1"]


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x05abc", b"\x0a\x01\xff"])
async def test_bytes_that_are_no_message_are_invalid_and_the_parsers_text_stays_here(
    server: Serving, data: bytes
) -> None:
    error = await failure(server.raw(LIST, data))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "these bytes are no shop.notifications.v1.ListNotificationsRequest"
    assert reason(error) == ("INVALID_MESSAGE", "shop.notifications.v1")


async def test_who_is_not_admitted_is_told_so_whatever_he_sent(server: Serving) -> None:
    server.servicer.admits = False
    error = await failure(server.raw(LIST, b"\xff\xff\xff"))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert errors.retry_delay_s(errors.status_of(error)) == 0.5
    await server.raw(NOTIFY, NotifyCustomerRequest(order=an_order(), status=1).SerializeToString())


async def test_who_is_not_admitted_is_told_so_before_his_request_has_come(server: Serving) -> None:
    async def none_comes() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    server.servicer.admits = False
    error = await failure(server.channel.stream_unary(LIST)(none_comes(), timeout=5))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_of_thousands_of_calls_at_once_each_is_told_when_to_try_again(server: Serving) -> None:
    server.servicer.admits = False
    errors_of_all = await asyncio.gather(*(failure(server.list("o-1")) for _ in range(2_500)))
    assert {error.code() for error in errors_of_all} == {grpc.StatusCode.RESOURCE_EXHAUSTED}


async def test_a_message_that_breaks_the_rules_is_told_its_fields(server: Serving) -> None:
    request: Message = NotifyCustomerRequest(order=an_order(customer_id="", order_id="a.b"))
    error = await failure(server.raw(NOTIFY, request.SerializeToString()))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert set(violations(error)) == {"order.order_id", "order.customer_id", "status"}
    assert reason(error) == ("INVALID_MESSAGE", "shop.notifications.v1")


async def test_an_exception_of_a_handler_stays_in_the_log(server: Serving, caplog: pytest.LogCaptureFixture) -> None:
    error = await failure(server.list("fails"))
    assert error.code() == grpc.StatusCode.INTERNAL
    assert error.details() == "internal error; the log of the service says more"
    assert "hunter2" not in everything_told(error)
    assert "RuntimeError" not in everything_told(error)
    assert SECRET in caplog.text


async def test_a_refusal_is_told_with_its_reason_and_its_data(server: Serving) -> None:
    error = await failure(server.list("refuses"))
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "only 2 left")
    info = errors.error_info_of(errors.status_of(error))
    assert info == error_details_pb2.ErrorInfo(
        reason="OUT_OF_STOCK", domain="shop.notifications.v1", metadata={"sku": "sku-1"}
    )


async def test_an_error_with_a_long_text_keeps_its_code_and_reason(server: Serving) -> None:
    error = await failure(server.list("talks"))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert reason(error) == ("TOO_LONG", "shop.notifications.v1")


async def test_a_stream_that_fails_says_nothing_of_the_exception_after_what_it_sent(server: Serving) -> None:
    received = []

    async def read() -> None:
        async for message in server.watch("fails"):
            received.append(message)  # noqa: PERF401  # what came before the failure counts

    error = await failure(read())
    assert len(received) == 1
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "hunter2" not in everything_told(error)


async def test_a_stream_is_asked_for_by_a_valid_message_only(server: Serving) -> None:
    async def read(data: bytes) -> None:
        async for _ in server.channel.unary_stream(WATCH)(data, timeout=5):
            raise AssertionError("nothing was valid, and something came")

    assert (await failure(read(b"\xff"))).code() == grpc.StatusCode.INVALID_ARGUMENT
    error = await failure(read(b""))
    assert (error.code(), violations(error)) == (grpc.StatusCode.INVALID_ARGUMENT, ["saga_id"])


async def test_a_method_that_nobody_serves_is_unimplemented(server: Serving) -> None:
    path = "/ensemble.orchestrator.v1.OrchestratorService/GetSaga"
    assert (await failure(server.raw(path, b""))).code() == grpc.StatusCode.UNIMPLEMENTED


async def test_an_answer_whose_caller_is_gone_is_told_in_a_line_and_other_faults_of_grpc_as_they_are(
    server: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for fault in (cygrpc.ExecuteBatchError("SendStatusFromServer"), RuntimeError("broken")):
        try:
            raise fault
        except Exception:  # as grpc does, which cannot be made to lose this race on purpose
            logging.getLogger("grpc._cython.cygrpc").exception("raised by servicer method [%s]", LIST)
    told = [(record.levelname, record.exc_info is not None, LIST in record.getMessage()) for record in caplog.records]
    assert told == [("INFO", False, True), ("ERROR", True, True)]
