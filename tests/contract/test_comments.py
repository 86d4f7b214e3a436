"""Whoever reads a contract is told what each thing in it is for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

from scripts.generate import sources, write_image

# A thing's place: numbers and indexes of descriptor.proto's fields, as SourceCodeInfo has them.
Place = tuple[int, ...]
Things = Iterator[tuple[str, Place]]

FILE_MESSAGE = FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER
FILE_ENUM = FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER
FILE_SERVICE = FileDescriptorProto.SERVICE_FIELD_NUMBER
FILE_EXTENSION = FileDescriptorProto.EXTENSION_FIELD_NUMBER


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FileDescriptorProto]:
    image = tmp_path_factory.mktemp("image") / "contracts.binpb"
    write_image(image)
    return {file.name: file for file in FileDescriptorSet.FromString(Path(image).read_bytes()).file}


def members(parts: Sequence[object], number: int, above: str, place: Place) -> Things:
    """The named parts of a thing, which its descriptor lists in the field of this number."""
    for index, part in enumerate(parts):
        yield f"{above}.{part.name}", (*place, number, index)  # type: ignore[attr-defined]


def in_message(message: DescriptorProto, name: str, place: Place) -> Things:
    yield name, place
    yield from members(message.field, DescriptorProto.FIELD_FIELD_NUMBER, name, place)
    for index, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            below = (*place, DescriptorProto.NESTED_TYPE_FIELD_NUMBER, index)
            yield from in_message(nested, f"{name}.{nested.name}", below)
    for index, enum in enumerate(message.enum_type):
        yield from in_enum(enum, f"{name}.{enum.name}", (*place, DescriptorProto.ENUM_TYPE_FIELD_NUMBER, index))


def in_enum(enum: EnumDescriptorProto, name: str, place: Place) -> Things:
    yield name, place
    yield from members(enum.value, EnumDescriptorProto.VALUE_FIELD_NUMBER, name, place)


def in_service(service: ServiceDescriptorProto, name: str, place: Place) -> Things:
    yield name, place
    yield from members(service.method, ServiceDescriptorProto.METHOD_FIELD_NUMBER, name, place)


def in_file(file: FileDescriptorProto) -> Things:
    for index, message in enumerate(file.message_type):
        yield from in_message(message, message.name, (FILE_MESSAGE, index))
    for index, enum in enumerate(file.enum_type):
        yield from in_enum(enum, enum.name, (FILE_ENUM, index))
    for index, service in enumerate(file.service):
        yield from in_service(service, service.name, (FILE_SERVICE, index))
    yield from members(file.extension, FILE_EXTENSION, "extension", ())


@pytest.mark.parametrize("name", sources())
def test_everything_in_a_contract_has_a_comment_before_it(name: str, files: dict[str, FileDescriptorProto]) -> None:
    file = files[name]
    commented = {tuple(one.path) for one in file.source_code_info.location if one.leading_comments.strip()}
    assert [thing for thing, place in in_file(file) if place not in commented] == []


@pytest.mark.parametrize("name", sources())
def test_a_contract_begins_with_what_it_is_about(name: str, files: dict[str, FileDescriptorProto]) -> None:
    syntax = (FileDescriptorProto.SYNTAX_FIELD_NUMBER,)
    locations = files[name].source_code_info.location
    assert any(tuple(one.path) == syntax and one.leading_comments.strip() for one in locations)


def test_the_contracts_hold_all_that_is_looked_through(files: dict[str, FileDescriptorProto]) -> None:
    things = {thing for name in sources() for thing, _ in in_file(files[name])}
    assert {"InventoryService.ReserveStock", "OrderPlaced", "Order.ship_to", "extension.saga_id"} <= things
    assert {"OrchestratorService.HandOver", "SagaStatus.SAGA_STATUS_STALLED", "Participation.on"} <= things
