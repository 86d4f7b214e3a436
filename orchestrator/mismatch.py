"""Says in which fields two requests for one step differ."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

FIELDS_MAX = 3


def fields_to_mark(one: Message, other: Message) -> str:
    """The fields that tell two requests of a method apart, for a person; e.g. "`line_number`"."""
    names = list(_differing(one, other, ""))
    more = f" (and {len(names) - FIELDS_MAX} more)" if len(names) > FIELDS_MAX else ""
    return " or ".join(f"`{name}`" for name in names[:FIELDS_MAX]) + more


def _differing(one: Message, other: Message, path: str) -> Iterator[str]:
    for field in one.DESCRIPTOR.fields:
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if mine == theirs:
            continue
        if field.type == FieldDescriptor.TYPE_MESSAGE and isinstance(mine, Message):
            yield from _differing(mine, theirs, f"{path}{field.name}.")
        else:
            yield f"{path}{field.name}"
