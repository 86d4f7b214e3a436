"""Finds generated messages and services by their full names.

Generated modules register themselves in protobuf's default pool when they are imported. Options name events as
strings, so a service may have to know an event whose module it never imports: a name that is not in the pool yet
is looked for in the generated package of its own (buf STANDARD: the package is the directory).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FileDescriptor, ServiceDescriptor
from google.protobuf.message import Message

_POOL = descriptor_pool.Default()
# In each generated top-level package.
POSITIONS_FILE = "positions.binpb"


class UnknownName(LookupError):
    """No generated code defines this name; run scripts/generate, and check the spelling in the contract."""


@cache
def import_package(package: str) -> tuple[str, ...]:
    """Imports all message modules of a generated package and of those below it; returns the modules' names.

    A package that does not exist has no modules.
    """
    try:
        spec = importlib.util.find_spec(package) if package else None
    except ModuleNotFoundError:
        return ()
    names: list[str] = []
    for location in (spec.submodule_search_locations or ()) if spec else ():
        root = Path(location)
        for path in sorted(root.rglob("*_pb2.py")):
            names.append(".".join((package, *path.relative_to(root).with_suffix("").parts)))
            importlib.import_module(names[-1])
    return tuple(names)


def message_descriptor(full_name: str) -> Descriptor:
    """The descriptor of a message; raises UnknownName."""
    try:
        return _POOL.FindMessageTypeByName(full_name)
    except KeyError:
        import_package(full_name.rpartition(".")[0])
    try:
        return _POOL.FindMessageTypeByName(full_name)
    except KeyError:
        raise UnknownName(f"no message {full_name}: {UnknownName.__doc__}") from None


@cache
def message_class(full_name: str) -> type[Message]:
    """The generated class of a message; raises UnknownName."""
    return message_factory.GetMessageClass(message_descriptor(full_name))


def service_descriptors(*packages: str) -> list[ServiceDescriptor]:
    """All services that are defined in these generated packages and below them, by full name."""
    found: dict[str, ServiceDescriptor] = {}
    for file in _files(packages):
        found.update((service.full_name, service) for service in file.services_by_name.values())
    return [found[name] for name in sorted(found)]


def message_descriptors(*packages: str) -> list[Descriptor]:
    """All messages at the top of the files of these generated packages and below them, by full name."""
    found: dict[str, Descriptor] = {}
    for file in _files(packages):
        found.update((message.full_name, message) for message in file.message_types_by_name.values())
    return [found[name] for name in sorted(found)]


def positions(package: str) -> bytes:
    """A serialized FileDescriptorSet of a generated package with source positions; empty where it has none.

    `scripts/generate` writes it: generated modules themselves know no lines.
    """
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(location) / POSITIONS_FILE
        if path.is_file():
            return path.read_bytes()
    return b""


def _files(packages: Iterable[str]) -> Iterator[FileDescriptor]:
    for package in packages:
        modules = import_package(package)
        if not modules:
            raise UnknownName(f"no generated code in package {package!r}: {UnknownName.__doc__}")
        for module in modules:
            yield importlib.import_module(module).DESCRIPTOR
