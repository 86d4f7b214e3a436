"""The rules of the contracts (protovalidate), the same on either transport."""

from __future__ import annotations

from typing import TypeVar

import protovalidate
from google.protobuf.message import DecodeError, Message

from mesh.errors import Invalid

M = TypeVar("M", bound=Message)

_validator = protovalidate.Validator()


def parse(message_class: type[M], data: bytes) -> M:
    """A message from its bytes; raises Invalid, with none of the parser's own text, where they are none."""
    try:
        return message_class.FromString(data)
    except DecodeError:
        raise Invalid([("", f"these bytes are no {message_class.DESCRIPTOR.full_name}")]) from None


def validate(message: Message) -> None:
    """Raises Invalid where a message breaks the rules of its contract."""
    violations = _validator.collect_violations(message)
    if violations:
        raise Invalid([(_path(one), one.proto.message or one.proto.rule_id) for one in violations])


def _path(violation: protovalidate.Violation) -> str:
    path = ""
    for element in violation.proto.field.elements if violation.proto.field else ():
        path += f".{element.field_name}" if path else element.field_name
        subscript = getattr(element, "subscript", None)
        if subscript is not None:
            path += f"[{subscript.value}]"
    return path
