"""Messages that break one rule of their contract, for each rule that it has: from the rules themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.type.money_pb2 import Money

from buf.validate import validate_pb2
from mesh import identity

NO_IDS = ("", "a.b", "*", ">", "a b", "a/b", "é", "a\n", "x" * 65)


@dataclass(frozen=True)
class Broken:
    """A message, which field of it breaks a rule, and how."""

    path: str
    how: str
    message: Message


def broken(message: Message) -> Iterator[Broken]:
    """Every way to break one rule of a message that breaks none."""
    fields: list[Any] = list(message.DESCRIPTOR.fields)
    for field in fields:
        rules = field.GetOptions().Extensions[validate_pb2.field]
        for how, value in _wrong(field, rules, getattr(message, field.name)):
            yield Broken(field.name, how, _with(message, field, value))
        yield from _below(message, field)


def without_saga(message: Message) -> Iterator[Broken]:
    """A participating request, or an event, that says of no saga what it belongs to."""
    path = identity.saga_id_path(message.DESCRIPTOR)
    *above, last = path.split(".")
    for id_ in NO_IDS:
        changed = type(message)()
        changed.CopyFrom(message)
        holder: Any = changed
        for name in above:
            holder = getattr(holder, name)
        setattr(holder, last, id_)
        yield Broken(path, f"is {id_[:9]!r}", changed)


def _below(message: Message, field: FieldDescriptor) -> Iterator[Broken]:
    """What is wrong within a message of a field; of several the first."""
    if field.message_type is None or field.message_type.full_name.startswith("google.protobuf."):
        return
    value: Any = getattr(message, field.name)
    if field.is_repeated:
        for one in broken(value[0]) if value else ():
            yield Broken(f"{field.name}[0].{one.path}", one.how, _with(message, field, [one.message, *value[1:]]))
    elif message.HasField(field.name):
        for one in broken(value):
            yield Broken(f"{field.name}.{one.path}", one.how, _with(message, field, one.message))


def _wrong(field: FieldDescriptor, rules: Any, value: Any) -> Iterator[tuple[str, Any]]:
    """Values that break a field's rules."""
    if rules.required:
        yield "is missing", None
    if rules.HasField("string"):
        yield from _wrong_texts(rules.string)
    for kind in ("int32", "int64"):
        if rules.HasField(kind):
            yield from _wrong_numbers(getattr(rules, kind))
    if rules.HasField("enum"):
        yield "is no such value", 99
        yield from (("is none that may be", value) for value in rules.enum.not_in)
    if rules.HasField("duration"):
        yield "is negative", type(value)(seconds=-1)
    if rules.HasField("repeated"):
        yield from _wrong_lists(rules.repeated, list(value))
    if isinstance(value, Money):
        for how, change in {"is negative": {"units": -1}, "has too many nanos": {"nanos": 10**9}}.items():
            yield how, Money(currency_code="EUR", **change)
        yield "is of no currency", Money(currency_code="XXX")
        yield "is too much", Money(currency_code="EUR", units=2**63 - 1)


def _wrong_texts(rules: Any) -> Iterator[tuple[str, str]]:
    if rules.min_len:
        yield "is empty", ""
    if rules.max_len:
        yield "is too long", "x" * (rules.max_len + 1)
    if rules.pattern:
        yield "does not fit its pattern", "?"


def _wrong_numbers(rules: Any) -> Iterator[tuple[str, int]]:
    if rules.HasField("gt") or rules.HasField("gte"):
        yield "is too small", (rules.gt if rules.HasField("gt") else rules.gte - 1)
    if rules.HasField("lte"):
        yield "is too great", rules.lte + 1


def _wrong_lists(rules: Any, value: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    if rules.min_items:
        yield "has none", []
    if rules.max_items:
        one = value[:1] or [""]
        yield "has too many", one * (rules.max_items + 1)


def _with(message: Message, field: FieldDescriptor, value: Any) -> Message:
    """A copy with another value in a field; None takes it out."""
    changed = type(message)()
    changed.CopyFrom(message)
    changed.ClearField(field.name)
    if field.is_repeated:
        getattr(changed, field.name).extend(value)
    elif isinstance(value, Message):
        getattr(changed, field.name).CopyFrom(value)
    elif value is not None:
        setattr(changed, field.name, value)
    return changed
