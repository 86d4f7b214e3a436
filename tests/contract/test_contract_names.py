"""What other programs meet is named as the contracts' document names it."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from ensemble.coordination.v1 import coordination_pb2 as options
from ensemble.orchestrator.v1 import orchestrator_pb2
from mesh import registry
from mesh.contract import Contract
from tests.contract.contract_table import (
    ENUMS,
    EVENTS,
    MESSAGES,
    METHODS,
    ORCHESTRATOR_METHODS,
    STREAMING,
    Part,
    event,
    service,
)

SHOP = Contract.of_packages("shop")
CELLS = [(name, method, part) for name, methods in METHODS.items() for method, part in methods.items()]


def type_name(field: FieldDescriptor) -> str:
    """As a .proto file writes it."""
    of = field.message_type or field.enum_type
    scalar = {FieldDescriptor.TYPE_STRING: "string", FieldDescriptor.TYPE_INT32: "int32"}
    return ("repeated " if field.is_repeated else "") + (of.full_name if of else scalar.get(field.type, "?"))


def numbers(descriptor: Descriptor) -> dict[str, int]:
    return {field.name: field.number for field in descriptor.fields}


def test_the_options_have_the_numbers_of_the_wire() -> None:
    extensions = options.DESCRIPTOR.extensions_by_name.values()
    assert {(one.containing_type.full_name, one.name, one.number, one.type) for one in extensions} == {
        ("google.protobuf.MethodOptions", "participation", 50100, FieldDescriptor.TYPE_MESSAGE),
        ("google.protobuf.FieldOptions", "saga_id", 50101, FieldDescriptor.TYPE_BOOL),
        ("google.protobuf.FieldOptions", "step_key", 50102, FieldDescriptor.TYPE_BOOL),
        ("google.protobuf.MessageOptions", "event", 50103, FieldDescriptor.TYPE_MESSAGE),
    }
    assert options.DESCRIPTOR.package == "ensemble.coordination.v1"


def test_a_participation_has_the_fields_of_the_contract() -> None:
    assert numbers(options.Participation.DESCRIPTOR) == {
        "on": 1,
        "join": 2,
        "emits": 3,
        "refuses": 4,
        "compensates": 5,
        "pivot": 6,
        "aborts": 7,
        "observes": 8,
        "timeout": 9,
    }


def test_an_event_option_has_the_fields_of_the_contract() -> None:
    assert numbers(options.Event.DESCRIPTOR) == {"starts": 1, "outcome": 2, "public": 3, "deadline": 4}


def test_joins_and_outcomes_have_the_numbers_of_the_contract() -> None:
    assert dict(options.Join.items()) == {"JOIN_UNSPECIFIED": 0, "JOIN_ALL": 1}
    assert dict(options.Outcome.items()) == {
        "OUTCOME_UNSPECIFIED": 0,
        "OUTCOME_COMPLETED": 1,
        "OUTCOME_COMPENSATED": 2,
    }


def test_the_shop_has_the_services_of_the_table_and_no_others() -> None:
    assert {one.full_name for one in SHOP.services} == {service(name) for name in METHODS}


@pytest.mark.parametrize("name", METHODS)
def test_a_service_has_the_methods_of_the_table_and_no_others(name: str) -> None:
    (descriptor,) = (one for one in SHOP.services if one.full_name == service(name))
    assert {method.name for method in descriptor.methods} == set(METHODS[name])


@pytest.mark.parametrize(("name", "method", "part"), CELLS, ids=[method for _, method, _ in CELLS])
def test_a_method_plays_the_part_of_the_table(name: str, method: str, part: Part | None) -> None:
    found = SHOP.methods[f"{service(name)}.{method}"]
    said = part or Part()
    assert found.participates == (part is not None)
    assert set(found.on) == {event(one) for one in said.on}
    assert set(found.observes) == {event(one) for one in said.observes}
    assert (found.join_all, found.pivot) == (said.join_all, said.pivot)
    assert (found.emits, found.refuses) == (event(said.emits), event(said.refuses))
    assert found.compensates == (f"{service(name)}.{said.compensates}" if said.compensates else "")
    assert found.aborts == (f"{service(name)}.{said.aborts}" if said.aborts else "")


def test_the_shop_has_the_events_of_the_table_and_no_others() -> None:
    marked = {
        message.full_name
        for module in registry.import_package("shop")
        for message in descriptor_pool.Default()
        .FindFileByName(module.removesuffix("_pb2").replace(".", "/") + ".proto")
        .message_types_by_name.values()
        if message.GetOptions().HasExtension(options.event)
    }
    assert marked == {event(name) for name in EVENTS} == set(SHOP.events)


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_means_what_the_table_says(name: str) -> None:
    found, said = SHOP.events[event(name)], EVENTS[name]
    assert found.starts == said.starts
    assert options.Outcome.Name(found.outcome) == said.outcome
    assert found.public == said.public
    assert set(said.fields) <= set(found.descriptor.fields_by_name)


def test_the_starting_event_says_by_when_its_process_ends() -> None:
    assert SHOP.events[event("OrderPlaced")].deadline_s


@pytest.mark.parametrize("method", ["ConfirmOrder", "CancelOrder"])
def test_both_sides_of_the_decision_take_the_order_and_nothing_else(method: str) -> None:
    request = SHOP.methods[f"{service('orders')}.{method}"].descriptor.input_type
    assert {field.name: type_name(field) for field in request.fields} == {"order": "shop.orders.v1.Order"}


def test_the_orchestrator_has_its_methods() -> None:
    found = orchestrator_pb2.DESCRIPTOR.services_by_name["OrchestratorService"]
    assert [method.name for method in found.methods] == ORCHESTRATOR_METHODS
    assert found.full_name == "ensemble.orchestrator.v1.OrchestratorService"


def test_only_watches_stream() -> None:
    orchestrator = orchestrator_pb2.DESCRIPTOR.services_by_name["OrchestratorService"]
    methods: list[MethodDescriptor] = [*orchestrator.methods]
    methods += [method.descriptor for method in SHOP.methods.values()]
    assert {method.name for method in methods if method.server_streaming} == STREAMING
    assert not [method.full_name for method in methods if method.client_streaming]


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_has_the_fields_that_were_promised(name: str) -> None:
    fields = registry.message_descriptor(name).fields_by_name
    assert {field: type_name(fields[field]) for field in MESSAGES[name] if field in fields} == MESSAGES[name]


@pytest.mark.parametrize("name", ENUMS)
def test_an_enum_has_the_values_that_were_promised_and_no_others(name: str) -> None:
    values = descriptor_pool.Default().FindEnumTypeByName(name).values
    prefix = values[0].name.removesuffix("UNSPECIFIED")
    assert {value.name.removeprefix(prefix) for value in values} == ENUMS[name] | {"UNSPECIFIED"}
    assert values[0].number == 0
