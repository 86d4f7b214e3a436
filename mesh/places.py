"""In which line of which .proto a thing is defined.

Descriptors know their file only; lines are in the source info that protoc writes on demand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

Defined = Descriptor | FieldDescriptor | MethodDescriptor | ServiceDescriptor
Path = tuple[int, ...]


@dataclass(frozen=True, order=True)
class Place:
    """A line, counted from 1, of a file, as the contract's imports name it. 0: the line is not known."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class Places:
    """The places of everything in some files. Files are looked through when they are first asked for."""

    def __init__(self, load: Callable[[str], FileDescriptorProto | None]) -> None:
        """`load` gives a file with its source info by name, or None."""
        self._load = load
        self._lines: dict[str, dict[str, int]] = {}

    def of(self, thing: Defined) -> Place:
        """Where a message, field, service or method is defined."""
        file = _file_of(thing)
        if file not in self._lines:
            loaded = self._load(file)
            self._lines[file] = _lines(loaded) if loaded is not None else {}
        return Place(file, self._lines[file].get(thing.full_name, 0))


def files_by_name(descriptors: FileDescriptorSet) -> dict[str, FileDescriptorProto]:
    """The files of a descriptor set."""
    return {file.name: file for file in descriptors.file}


def _file_of(thing: Defined) -> str:
    if isinstance(thing, MethodDescriptor):
        return str(thing.containing_service.file.name)
    return str(thing.file.name)  # type: ignore[union-attr]  # fields have it too, which the types do not know


def _lines(file: FileDescriptorProto) -> dict[str, int]:
    known = {tuple(one.path): one.span[0] + 1 for one in file.source_code_info.location}
    return {name: known[path] for name, path in _things(file) if path in known}


def _things(file: FileDescriptorProto) -> Iterator[tuple[str, Path]]:
    """The full names of what a file defines, and their paths in its source info."""
    package = f"{file.package}." if file.package else ""
    yield from _messages(file.message_type, package, (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER,))
    for index, service in enumerate(file.service):
        path = (FileDescriptorProto.SERVICE_FIELD_NUMBER, index)
        yield package + service.name, path
        for nth, method in enumerate(service.method):
            yield f"{package}{service.name}.{method.name}", (*path, ServiceDescriptorProto.METHOD_FIELD_NUMBER, nth)


def _messages(messages: Iterable[DescriptorProto], above: str, path: Sequence[int]) -> Iterator[tuple[str, Path]]:
    for index, message in enumerate(messages):
        name, here = above + message.name, (*path, index)
        yield name, here
        for nth, field in enumerate(message.field):
            yield f"{name}.{field.name}", (*here, DescriptorProto.FIELD_FIELD_NUMBER, nth)
        yield from _messages(message.nested_type, f"{name}.", (*here, DescriptorProto.NESTED_TYPE_FIELD_NUMBER))
