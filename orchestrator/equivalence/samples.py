"""Messages with something in every field, always the same.

Texts say where they come from, so that a request that was built from the wrong field can be told from the right one.
Only one field of a oneof is set, and a message inside itself is left out.
"""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from ensemble.coordination.v1 import coordination_pb2 as options

M = TypeVar("M", bound=Message)

SAGA_ID = "a-saga"
_NUMBERS = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}


def sample(message_class: type[M]) -> M:
    """A message of this class; every sample is of one saga."""
    message = message_class()
    _fill(message, message_class.DESCRIPTOR.name, ())
    return message


def _fill(message: Message, whose: str, above: tuple[str, ...]) -> None:
    chosen: set[str] = set()
    above = (*above, message.DESCRIPTOR.full_name)
    fields: Any = message.DESCRIPTOR.fields  # which types-protobuf and its own upb types tell apart
    for field in fields:
        oneof = field.containing_oneof.full_name if field.containing_oneof else ""
        if oneof not in chosen and _message_in(field) not in above:
            _fill_field(message, field, whose, above)
            chosen |= {oneof} - {""}


def _message_in(field: FieldDescriptor) -> str:
    """The full name of the message that a field, or an entry of a map, holds; empty for a scalar."""
    held = field.message_type
    if held is not None and held.GetOptions().map_entry:
        held = held.fields_by_name["value"].message_type
    return held.full_name if held is not None else ""


def _fill_field(message: Message, field: FieldDescriptor, whose: str, above: tuple[str, ...]) -> None:
    if field.message_type is None:
        value = _scalar(field, whose)
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)
    elif field.message_type.GetOptions().map_entry:
        _fill_map(getattr(message, field.name), field.message_type, whose, above)
    elif field.is_repeated:
        _fill(getattr(message, field.name).add(), whose, above)
    else:
        getattr(message, field.name).SetInParent()
        _fill(getattr(message, field.name), whose, above)


def _fill_map(entries: Any, entry: Any, whose: str, above: tuple[str, ...]) -> None:
    key, value = _scalar(entry.fields_by_name["key"], whose), entry.fields_by_name["value"]
    if value.message_type is None:
        entries[key] = _scalar(value, whose)
    else:
        _fill(entries[key], whose, above)


def _scalar(field: FieldDescriptor, whose: str) -> Any:
    if field.GetOptions().Extensions[options.saga_id]:
        return SAGA_ID
    if field.type == FieldDescriptor.TYPE_STRING:
        return f"{field.name} of {whose}"
    if field.type == FieldDescriptor.TYPE_BYTES:
        return f"{field.name} of {whose}".encode()
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return True
    return field.number + 0.5 if field.cpp_type in _NUMBERS else field.number
