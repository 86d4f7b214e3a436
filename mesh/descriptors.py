"""Where a contract comes from: generated packages, or a descriptor set in a file.

A file's descriptors live in a pool of their own, so that a mesh can look at the contracts of another one, or at other
versions of its own. The coordination options resolve there all the same: protobuf reads options by what the default
pool knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from mesh import registry
from mesh.contract import Contract, is_event
from mesh.contract_faults import Report, refuse
from mesh.places import Places, files_by_name


class WrongDescriptors(ValueError):
    """A file is no descriptor set that a contract can be read from; the text says what to do."""


@dataclass(frozen=True)
class Source:
    """A contract as it was read, and where its lines are."""

    contract: Contract
    places: Places


def of_packages(*packages: str, report: Report = refuse) -> Source:
    """The contracts of generated packages; raises UnknownName, and what `report` raises."""
    return Source(Contract.of_packages(*packages, report=report), Places(_generated_file))


def of_file(path: Path, report: Report = refuse) -> Source:
    """The contracts of a FileDescriptorSet, as protoc and `buf build` write it; raises WrongDescriptors."""
    try:
        descriptors = FileDescriptorSet.FromString(path.read_bytes())
    except OSError as error:
        raise WrongDescriptors(f"{path} cannot be read: {error.strerror}") from None
    except DecodeError:
        raise WrongDescriptors(f"{path} is no descriptor set: {_HOW_TO_WRITE}") from None
    if not descriptors.file:
        raise WrongDescriptors(f"{path} holds no files: {_HOW_TO_WRITE}")
    files = files_by_name(descriptors)
    pool = _pool(path, files)
    known = [pool.FindFileByName(name) for name in files]
    services = [service for file in known for service in file.services_by_name.values()]
    contract = Contract(services, _events(known), find=lambda name: _find(pool, name), report=report)
    return Source(contract, Places(files.get))


_HOW_TO_WRITE = "write it with `protoc --descriptor_set_out --include_imports --include_source_info`, or `buf build -o`"


def _pool(path: Path, files: dict[str, FileDescriptorProto]) -> DescriptorPool:
    pool = DescriptorPool()
    for name in _in_order(path, files):
        try:
            pool.AddSerializedFile(files[name].SerializeToString())
        except TypeError as error:
            raise WrongDescriptors(f"{path}: protobuf refuses {name}: {' '.join(str(error).split())}") from None
    return pool


def _in_order(path: Path, files: dict[str, FileDescriptorProto]) -> Iterable[str]:
    """Each file behind those that it imports, as a pool takes them."""
    for file in files.values():
        if missing := next((imported for imported in file.dependency if imported not in files), None):
            raise WrongDescriptors(f"{path} lacks {missing}, which {file.name} imports: {_HOW_TO_WRITE}")
    try:
        return list(TopologicalSorter({file.name: file.dependency for file in files.values()}).static_order())
    except CycleError as error:
        raise WrongDescriptors(f"{path}: these files import each other: {', '.join(error.args[1])}") from None


def _events(files: Iterable[FileDescriptor]) -> list[Descriptor]:
    return [message for file in files for message in file.message_types_by_name.values() if is_event(message)]


def _find(pool: DescriptorPool, name: str) -> Descriptor:
    try:
        return pool.FindMessageTypeByName(name)
    except KeyError:
        raise registry.UnknownName(f"no message {name}: {_NOT_IN_SET}") from None


_NOT_IN_SET = "nothing in the descriptor set defines it; check the spelling, and that its file is among them"


def _generated_file(name: str) -> FileDescriptorProto | None:
    return _positions(name.partition("/")[0]).get(name)


@cache
def _positions(package: str) -> dict[str, FileDescriptorProto]:
    return files_by_name(FileDescriptorSet.FromString(registry.positions(package)))
