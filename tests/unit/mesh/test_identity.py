"""What a message is about stands in the message."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from mesh import identity
from mesh.errors import Invalid
from mesh.identity import NoSagaId
from shop.notifications.v1.notifications_pb2 import NotifyCustomerRequest
from shop.orders.v1.order_pb2 import Order, OrderStatus
from shop.orders.v1.orders_pb2 import ConfirmOrderRequest
from tests.builders import an_order
from tests.unit.mesh.protofiles import define

THINGS = define("""
message Direct { string id = 1 [($options.saga_id) = true]; string note = 2; }
message Outer { Middle middle = 1; }
message Middle { Direct direct = 1; }
message Twice { Direct one = 1; Direct other = 2; }
message None { string id = 1; }
message Listed { repeated Direct directs = 1; map<string, Direct> by_name = 2; }
message Tree { string id = 1 [($options.saga_id) = true]; Tree below = 2; }
message Numbered { int64 id = 1 [($options.saga_id) = true]; }
message Keyed {
  Direct direct = 1;
  string part = 2 [($options.step_key) = true];
  int32 number = 3 [($options.step_key) = true];
}
message Noted { Direct direct = 1; map<string, int32> counts = 2; }
message NotedLater { Direct direct = 1; map<string, int32> counts = 2; string later = 3; }
message DirectLater { string id = 1; string note = 2; string later = 3; }
""")


def made(name: str, **fields: object) -> Message:
    return THINGS.message(name)(**fields)


@pytest.mark.parametrize(("name", "path"), [("Direct", "id"), ("Outer", "middle.direct.id"), ("Tree", "id")])
def test_the_saga_id_is_found_however_deep_it_lies(name: str, path: str) -> None:
    assert identity.saga_id_path(THINGS.descriptor(name)) == path


def test_a_message_that_reaches_two_saga_ids_is_refused() -> None:
    with pytest.raises(NoSagaId, match=r"exactly one string field .* found one\.id and other\.id"):
        identity.saga_id_path(THINGS.descriptor("Twice"))


@pytest.mark.parametrize("name", ["None", "Listed"])
def test_a_message_that_reaches_no_single_saga_id_is_refused(name: str) -> None:
    with pytest.raises(NoSagaId, match="found none"):
        identity.saga_id_path(THINGS.descriptor(name))


def test_a_saga_id_that_is_no_text_is_refused_when_the_contract_is_read() -> None:
    with pytest.raises(NoSagaId, match="string field"):
        identity.saga_id_path(THINGS.descriptor("Numbered"))


@pytest.mark.parametrize("value", ["a", "A-1_z", "x" * 64, "0192f1f0-8a7b-7000-8000-000000000000"])
def test_a_well_formed_saga_id_is_taken_as_it_is(value: str) -> None:
    assert identity.saga_id(ConfirmOrderRequest(order=an_order(order_id=value))) == value


@pytest.mark.parametrize("value", ["", "a.b", "x" * 65, "a b", "a\n", "a*", ">", "ä", "a/b", "\x00"])
def test_a_malformed_saga_id_is_an_invalid_field(value: str) -> None:
    with pytest.raises(Invalid) as caught:
        identity.saga_id(ConfirmOrderRequest(order=Order(order_id=value)))
    assert [field for field, _ in caught.value.violations] == ["order.order_id"]


def test_a_message_without_its_order_has_no_saga_id() -> None:
    with pytest.raises(Invalid):
        identity.saga_id(ConfirmOrderRequest())


def test_a_malformed_saga_id_is_not_echoed_at_length() -> None:
    with pytest.raises(Invalid) as caught:
        identity.saga_id(ConfirmOrderRequest(order=Order(order_id="." * 100_000)))
    assert len(str(caught.value)) < 300


def test_a_step_without_step_keys_has_an_empty_one() -> None:
    assert identity.step_key(ConfirmOrderRequest(order=an_order())) == ""


def test_a_step_key_names_its_fields_and_their_values() -> None:
    request = NotifyCustomerRequest(order=an_order(), status=OrderStatus.ORDER_STATUS_COMPLETED)
    assert identity.step_key(request) == f"status={OrderStatus.ORDER_STATUS_COMPLETED}"
    assert identity.step_key(made("Keyed", part="left", number=7)) == "part=left,number=7"


def test_values_of_step_keys_cannot_run_into_each_other() -> None:
    sly = identity.step_key(made("Keyed", part="left,number=7", number=0))
    assert sly != identity.step_key(made("Keyed", part="left", number=7))
    assert sly == "part=left%2Cnumber%3D7,number=0"


@pytest.mark.parametrize("part", ["a:b", "a.b>*", "ü", "a\r\nb", "a b", "50%"])
def test_a_step_key_is_printable_ascii_whatever_its_fields_hold(part: str) -> None:
    key = identity.step_key(made("Keyed", part=part))
    assert key.isascii()
    assert key.isprintable()
    assert not set(key) & set(" :>*")


def test_equal_requests_have_equal_digests_of_32_bytes() -> None:
    order = an_order()
    digest = identity.digest(ConfirmOrderRequest(order=order))
    assert digest == identity.digest(
        ConfirmOrderRequest.FromString(ConfirmOrderRequest(order=order).SerializeToString())
    )
    assert len(digest) == 32


def test_other_requests_have_other_digests() -> None:
    order = an_order()
    other = an_order(order_id=order.order_id, payment_token="tok_declined")
    assert identity.digest(ConfirmOrderRequest(order=order)) != identity.digest(ConfirmOrderRequest(order=other))


def test_the_order_in_which_a_map_was_filled_does_not_change_the_digest() -> None:
    keys = [f"key-{number}" for number in range(50)]
    forwards, backwards = made("Noted"), made("Noted")
    for key in keys:
        forwards.counts[key] = len(key)
    for key in reversed(keys):
        backwards.counts[key] = len(key)
    assert identity.digest(forwards) == identity.digest(backwards)


def test_fields_that_this_process_does_not_know_do_not_change_the_digest() -> None:
    known = made("Noted", direct=made("Direct", id="a", note="n"))
    inner = made("DirectLater", id="a", note="n", later="deep")
    newer = made("NotedLater", direct=THINGS.message("Direct").FromString(inner.SerializeToString()), later="x")
    received = THINGS.message("Noted").FromString(newer.SerializeToString())
    assert received.SerializeToString() != known.SerializeToString()
    assert identity.digest(received) == identity.digest(known)


def test_taking_a_digest_leaves_the_request_as_it_was() -> None:
    newer = made("DirectLater", id="a", later="kept").SerializeToString()
    received = THINGS.message("Direct").FromString(newer)
    identity.digest(received)
    assert received.SerializeToString() == newer
