"""Fills a message from others by field name and type.

A request is filled from the event or events that trigger it; an event is filled from the request and the response
(or the refusal) of the step that emits it. The same rule both ways: a field takes its value from every source that
has a field of its name and type, and sources that share a field have to agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


class Disagreement(ValueError):
    """Two sources of a projection hold different values in a field that they share."""


def project(target: type[M], *sources: Message) -> M:
    """A new `target`, filled from the sources; raises Disagreement.

    Fields without a source stay unset: `missing_fields` finds them beforehand, from the descriptors.
    """
    message = target()
    for copy, index in _plan(target.DESCRIPTOR, tuple(source.DESCRIPTOR for source in sources)):
        copy(sources[index], message)
    return message


def missing_fields(target: Descriptor, sources: Sequence[Descriptor]) -> list[str]:
    """The fields of `target` that no source fills."""
    return [field.name for field in target.fields if not any(matches(field, source) for source in sources)]


Copy = Callable[[Message, Message], None]


@cache
def _plan(target: Descriptor, sources: tuple[Descriptor, ...]) -> tuple[tuple[Copy, int], ...]:
    plan: list[tuple[Copy, int]] = []
    for field in target.fields:
        having = [
            (index, source.fields_by_name[field.name]) for index, source in enumerate(sources) if matches(field, source)
        ]
        for position, (index, given) in enumerate(having):
            plan.append((_copier(given) if position == 0 else _comparer(given, field), index))
    return tuple(plan)


def matches(field: FieldDescriptor, source: Descriptor) -> bool:
    """Whether a source has a field of this name and type."""
    other = source.fields_by_name.get(field.name)
    return other is not None and _shape(other) == _shape(field)


def _shape(field: FieldDescriptor) -> tuple[Any, ...]:
    of_message = field.message_type.full_name if field.message_type else None
    of_enum = field.enum_type.full_name if field.enum_type else None
    if field.message_type and field.message_type.GetOptions().map_entry:
        # Every map field has an entry type of its own; maps are alike when their entries are.
        of_message = "map:" + repr([_shape(entry) for entry in field.message_type.fields])
    return (field.type, field.is_repeated, of_message, of_enum)


def _copier(given: FieldDescriptor) -> Copy:
    name = given.name
    if given.is_repeated:
        return lambda source, target: getattr(target, name).MergeFrom(getattr(source, name))
    if given.message_type is not None:

        def copy_message(source: Message, target: Message) -> None:
            if source.HasField(name):
                getattr(target, name).CopyFrom(getattr(source, name))

        return copy_message
    if given.has_presence:

        def copy_present(source: Message, target: Message) -> None:
            if source.HasField(name):
                setattr(target, name, getattr(source, name))

        return copy_present
    return lambda source, target: setattr(target, name, getattr(source, name))


def _comparer(given: FieldDescriptor, field: FieldDescriptor) -> Copy:
    name = given.name
    both_have_presence = given.has_presence and field.has_presence

    def compare(source: Message, target: Message) -> None:
        alike = not both_have_presence or source.HasField(name) == target.HasField(name)
        if not alike or getattr(source, name) != getattr(target, name):
            what = source.DESCRIPTOR.full_name
            raise Disagreement(f"{what}.{name} differs from what another source of {target.DESCRIPTOR.full_name} says")

    return compare
