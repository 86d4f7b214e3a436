"""Every message that the mesh builds by itself can be built in full, and belongs to one saga."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import Descriptor

from ensemble.coordination.v1 import coordination_pb2
from mesh import identity
from mesh.contract import Contract, EventType, Method, Process
from mesh.projection import missing_fields

SHOP = Contract.of_packages("shop")
PARTICIPATING = [method for method in SHOP.methods.values() if method.participates]
EMITTING = [method for method in PARTICIPATING if method.emits]
REFUSING = [method for method in PARTICIPATING if method.refuses]


def named(values: list[Method] | list[EventType]) -> list[str]:
    return [value.full_name.rpartition(".")[2] for value in values]


def descriptors(*events: str) -> list[Descriptor]:
    return [SHOP.events[event].descriptor for event in events]


@pytest.mark.parametrize("method", PARTICIPATING, ids=named(PARTICIPATING))
def test_a_participating_request_reaches_exactly_one_saga_id(method: Method) -> None:
    assert identity.saga_id_path(method.descriptor.input_type) == "order.order_id"


@pytest.mark.parametrize("event", SHOP.events.values(), ids=named([*SHOP.events.values()]))
def test_an_event_reaches_exactly_one_saga_id(event: EventType) -> None:
    assert identity.saga_id_path(event.descriptor) == "order.order_id"


@pytest.mark.parametrize("method", PARTICIPATING, ids=named(PARTICIPATING))
def test_a_request_is_filled_by_what_triggers_it(method: Method) -> None:
    together = [method.on] if method.join_all else [(event,) for event in method.on]
    ways = together + [(event,) for event in method.observes]
    assert ways, "nothing triggers it"
    request = method.descriptor.input_type
    assert {way: missing for way in ways if (missing := missing_fields(request, descriptors(*way)))} == {}


@pytest.mark.parametrize("method", EMITTING, ids=named(EMITTING))
def test_an_event_of_success_is_filled_by_request_and_response(method: Method) -> None:
    (event,) = descriptors(method.emits)
    assert missing_fields(event, [method.descriptor.input_type, method.descriptor.output_type]) == []


@pytest.mark.parametrize("method", REFUSING, ids=named(REFUSING))
def test_an_event_of_refusal_is_filled_by_request_and_refusal(method: Method) -> None:
    (event,) = descriptors(method.refuses)
    assert missing_fields(event, [method.descriptor.input_type, coordination_pb2.Refusal.DESCRIPTOR]) == []
    assert "refusal" in event.fields_by_name


@pytest.mark.parametrize("process", SHOP.processes.values(), ids=[*SHOP.processes])
def test_the_no_go_side_can_be_taken_from_the_starting_event(process: Process) -> None:
    assert process.aborting is not None
    assert missing_fields(process.aborting.descriptor.input_type, [process.start.descriptor]) == []


def test_the_shop_has_one_process_with_one_decision() -> None:
    assert list(SHOP.processes) == ["fulfil-order"]
    process = SHOP.processes["fulfil-order"]
    assert [method.name for method in process.methods if method.pivot] == ["ConfirmOrder"]
    assert [method.name for method in process.methods if method.aborts] == ["CancelOrder"]
    assert {method.full_name for method in process.methods} == {
        method.full_name for method in PARTICIPATING if not method.observes
    }


def test_every_end_of_a_process_is_reached() -> None:
    emitted = {method.emits for method in SHOP.processes["fulfil-order"].methods}
    assert {event.full_name for event in SHOP.events.values() if event.outcome} <= emitted
