"""Bytes that are no message, whatever is expected."""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor

NO_MESSAGE = {
    "garbage": b"\xff\xff\xff",
    "a field of number 0": b"\x00\x00",
    "a wire type that is none": b"\x0f",
    "an end of no group": b"\x0c",
    "a group without an end": b"\x0b",
    "a thousand groups in each other": b"\x0b" * 1000,
    "a varint without an end": b"\x08" + b"\xff" * 11,
    "a length beyond the end": b"\x0a\x7fabc",
    "a length of 4 GiB": b"\x0a\xff\xff\xff\xff\x0f",
}

_TEXT = b"\xff\xfe"


def invalid_utf8(message: Descriptor) -> bytes | None:
    """A message whose first text is none; None where it has no text."""
    for field in message.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            return field_of(field.number, _TEXT)
        if field.message_type is not None and (below := invalid_utf8(field.message_type)) is not None:
            return field_of(field.number, below)
    return None


def field_of(number: int, content: bytes) -> bytes:
    """A field with a length."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
