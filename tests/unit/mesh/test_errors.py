"""One error type, as google.rpc.Status on the wire and back."""

from __future__ import annotations

from urllib.parse import quote

import grpc
import grpc.aio
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from mesh import errors

DOMAIN = "shop.orders.v1"


def across_the_wire(error: errors.MeshError) -> status_pb2.Status:
    """The status that a client reads from a failed call."""
    status = error.status(DOMAIN)
    trailing = grpc.aio.Metadata(*errors.trailing_metadata(status))
    failed = grpc.aio.AioRpcError(errors.grpc_code(status), grpc.aio.Metadata(), trailing, status.message)
    return errors.status_of(failed)


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (errors.Refused("OUT_OF_STOCK"), "FAILED_PRECONDITION", "OUT_OF_STOCK"),
        (errors.StepCompensated("a/b"), "ABORTED", "STEP_COMPENSATED"),
        (errors.StepMismatch("a/b"), "ALREADY_EXISTS", "STEP_MISMATCH"),
        (errors.Invalid([("order", "is missing")]), "INVALID_ARGUMENT", "INVALID_MESSAGE"),
        (errors.Overloaded("full", 0.2), "RESOURCE_EXHAUSTED", "OVERLOADED"),
        (errors.NotFound("no order x"), "NOT_FOUND", None),
        (errors.AlreadyExists("there is another"), "ALREADY_EXISTS", None),
        (errors.OutOfOrder("too early"), "FAILED_PRECONDITION", None),
        (errors.Unavailable("closing"), "UNAVAILABLE", None),
        (errors.MeshError("broken"), "INTERNAL", None),
    ],
)
def test_every_error_has_the_code_and_the_reason_of_the_contract(
    error: errors.MeshError, code: str, reason: str | None
) -> None:
    status = across_the_wire(error)
    assert code_pb2.Code.Name(status.code) == code
    assert status.message == str(error)
    info = errors.error_info_of(status)
    assert (info.reason if info else None) == reason
    assert info is None or info.domain == DOMAIN


def test_a_refusal_carries_its_data_as_text() -> None:
    info = errors.error_info_of(across_the_wire(errors.Refused("OUT_OF_STOCK", sku="sku-1", wanted=3)))
    assert info is not None
    assert dict(info.metadata) == {"sku": "sku-1", "wanted": "3"}


def test_a_refusal_without_a_text_says_its_reason() -> None:
    assert str(errors.Refused("OUT_OF_STOCK")) == "out of stock"
    assert str(errors.Refused("OUT_OF_STOCK", "only 2 left")) == "only 2 left"


def test_an_invalid_message_names_its_fields() -> None:
    status = across_the_wire(errors.Invalid([("order.total", "is missing"), ("", "is no message")]))
    bad_request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad_request) for detail in status.details)
    assert [(one.field, one.description) for one in bad_request.field_violations] == [
        ("order.total", "is missing"),
        ("", "is no message"),
    ]
    assert status.message == "order.total: is missing; is no message"


def test_an_overloaded_process_says_when_to_try_again() -> None:
    assert errors.retry_delay_s(across_the_wire(errors.Overloaded("full", 0.25))) == 0.25
    assert errors.retry_delay_s(across_the_wire(errors.Unavailable("closing"))) is None


def test_a_text_beyond_ascii_survives_the_wire() -> None:
    info = errors.error_info_of(across_the_wire(errors.Refused("NO_CARRIER", "kein Träger: 南極", country="南極")))
    assert info is not None
    assert info.metadata["country"] == "南極"


def test_a_failed_call_without_details_still_has_a_status() -> None:
    bare = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "no route")
    assert errors.status_of(bare) == status_pb2.Status(code=code_pb2.UNAVAILABLE, message="no route")


def test_details_that_contradict_the_code_are_not_believed() -> None:
    other = errors.trailing_metadata(errors.Refused("OUT_OF_STOCK").status(DOMAIN))
    odd = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(*other), "broken")
    assert errors.status_of(odd) == status_pb2.Status(code=code_pb2.INTERNAL, message="broken")


def test_details_that_are_none_are_not_believed() -> None:
    nonsense = grpc.aio.Metadata((errors.STATUS_DETAILS_KEY, b"\xff\xff\xff"))
    odd = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), nonsense, "broken")
    assert errors.status_of(odd) == status_pb2.Status(code=code_pb2.INTERNAL, message="broken")
    for kind in ("ErrorInfo", "RetryInfo"):
        status = status_pb2.Status()
        status.details.add(type_url=f"type.googleapis.com/google.rpc.{kind}", value=b"\xff\xff\xff")
        assert (errors.error_info_of(status), errors.retry_delay_s(status)) == (None, None)


def test_a_delay_longer_than_any_life_is_still_a_number() -> None:
    info = error_details_pb2.RetryInfo()
    info.retry_delay.seconds = 2**62
    status = status_pb2.Status()
    status.details.add().Pack(info)
    assert errors.retry_delay_s(status) == 2.0**62


# From 8 KiB of trailing metadata on, gRPC drops a status by chance, the likelier the longer: the caller is told
# RESOURCE_EXHAUSTED, and tries again for ever what was refused. Something is left for the other trailers.
WIRE_BYTES_MAX = 8 * 1024 - 512


def bytes_on_the_wire(error: errors.MeshError) -> int:
    """As gRPC counts them: the text percent-encoded, the details in binary."""
    status = error.status(DOMAIN)
    return len(quote(status.message)) + len(status.SerializeToString())


@pytest.mark.parametrize("letter", ["x", "ä", "南", "😀"], ids=["1 byte", "2 bytes", "3 bytes", "4 bytes"])
def test_an_error_fits_on_the_wire_however_long_its_texts_are(letter: str) -> None:
    text = letter * 20_000
    many = {f"key-{number}": text for number in range(50)}
    told = [errors.Refused("OUT_OF_STOCK", text, **many), errors.Invalid([(text, text)] * 50), errors.NotFound(text)]
    sizes = {type(error).__name__: bytes_on_the_wire(error) for error in told}
    assert {name: size for name, size in sizes.items() if size > WIRE_BYTES_MAX} == {}


def test_what_leaves_a_step_in_doubt_is_never_a_definite_answer() -> None:
    assert {code.name for code in errors.IN_DOUBT} == {
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "CANCELLED",
        "UNKNOWN",
        "INTERNAL",
    }
