"""What a message is about: its saga, its step, and whether it is the same as another.

Correlation is in the message (`saga_id` and `step_key` are field options), so a client with nothing but the
generated stubs gets idempotent calls.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from operator import attrgetter
from urllib.parse import quote

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from ensemble.coordination.v1 import coordination_pb2 as options
from mesh.errors import Invalid

# Also the rule for tokens of NATS subjects, which would take dots and wildcards as structure.
SAGA_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")


class NoSagaId(ValueError):
    """A participating request or an event does not reach exactly one saga_id field."""


def saga_id(message: Message) -> str:
    """The id of the saga that a request or an event belongs to; raises Invalid where it is empty or malformed."""
    path = saga_id_path(message.DESCRIPTOR)
    value: str = attrgetter(path)(message)
    if not SAGA_ID_PATTERN.fullmatch(value):
        raise Invalid([(path, f"identifies the saga and must match [A-Za-z0-9_-]{{1,64}}, not {value[:80]!r}")])
    return value


def step_key(message: Message) -> str:
    """What tells a step apart from other calls of its method in the same saga; empty where nothing does."""
    paths = step_key_paths(message.DESCRIPTOR)
    return ",".join(f"{path}={quote(str(attrgetter(path)(message)), safe='')}" for path in paths)


def digest(request: Message) -> bytes:
    """32 bytes that are equal for equal requests.

    Serialised protobuf is not canonical: map entries come in any order (hence `deterministic`), and fields that a
    newer client knows and this process does not would be part of the bytes now and of the message after an update
    (hence they are dropped). What is left is stable in one implementation of protobuf, and documented as not
    guaranteed across all: a ledger must not be shared by processes of different protobuf implementations.
    """
    known = type(request)()
    known.CopyFrom(request)
    known.DiscardUnknownFields()
    return hashlib.sha256(known.SerializeToString(deterministic=True)).digest()


@cache
def saga_id_path(descriptor: Descriptor) -> str:
    """The dotted path of the one saga_id field that a message reaches; raises NoSagaId."""
    paths = _marked_paths(descriptor, options.saga_id)
    if len(paths) == 1 and _is_text(descriptor, paths[0]):
        return paths[0]
    found = "none" if not paths else " and ".join(paths)
    raise NoSagaId(
        f"{descriptor.full_name} must reach exactly one string field with (ensemble.coordination.v1.saga_id) = true; "
        f"found {found}"
    )


def _is_text(descriptor: Descriptor, path: str) -> bool:
    name, _, below = path.partition(".")
    field = descriptor.fields_by_name[name]
    if below and field.message_type is not None:
        return _is_text(field.message_type, below)
    return bool(field.type == FieldDescriptor.TYPE_STRING)


@cache
def step_key_paths(descriptor: Descriptor) -> tuple[str, ...]:
    """The dotted paths of the step_key fields that a message reaches."""
    return _marked_paths(descriptor, options.step_key)


def _marked_paths(descriptor: Descriptor, option: object, above: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Paths of the singular fields that carry an option. A message inside itself is not entered again."""
    if descriptor.full_name in above:
        return ()
    found: list[str] = []
    for field in descriptor.fields:
        if field.is_repeated:
            continue
        if field.GetOptions().Extensions[option]:  # type: ignore[index]
            found.append(field.name)
        elif field.message_type is not None:
            below = _marked_paths(field.message_type, option, (*above, descriptor.full_name))
            found += [f"{field.name}.{path}" for path in below]
    return tuple(found)
