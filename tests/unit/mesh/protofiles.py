"""Small contracts, written where a test needs them."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, ServiceDescriptor
from google.protobuf.message import Message
from grpc_tools import protoc

from shop.orders.v1 import order_pb2  # noqa: F401  # into the pool, with the coordination options, for those who import it

_numbers = itertools.count(1)


class Defined:
    """What one definition added to protobuf's default pool."""

    def __init__(self, package: str) -> None:
        self.package = package

    def descriptor(self, name: str) -> Descriptor:
        return descriptor_pool.Default().FindMessageTypeByName(f"{self.package}.{name}")

    def message(self, name: str) -> type[Message]:
        return message_factory.GetMessageClass(self.descriptor(name))

    def service(self, name: str) -> ServiceDescriptor:
        return descriptor_pool.Default().FindServiceByName(f"{self.package}.{name}")


def define(body: str) -> Defined:
    """Compiles `body` in a package of its own. In it, `$package` is that package, `$options` the coordination's."""
    package = f"defined{next(_numbers)}.things.v1"
    text = body.replace("$package", package).replace("$options", "ensemble.coordination.v1")
    header = f'syntax = "proto3";\npackage {package};\nimport "ensemble/coordination/v1/coordination.proto";\n'
    compiled = compiled_from({f"{package}.proto": header + text})
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled).file:
        descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    return Defined(package)


def compiled_from(files: dict[str, str], *flags: str) -> bytes:
    """A FileDescriptorSet of these files (by name), as protoc writes it with these flags. It is put into no pool."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        known, out = Path(folder) / "known.binpb", Path(folder) / "out.binpb"
        known.write_bytes(_known().SerializeToString())
        command = ["protoc", f"-I{folder}", f"--descriptor_set_in={known}", f"--descriptor_set_out={out}"]
        assert protoc.main([*command, *flags, *files]) == 0, "protoc refused:\n" + "\n".join(files.values())
        return out.read_bytes()


def _known() -> descriptor_pb2.FileDescriptorSet:
    """The files that a definition may import, each after those that it imports itself."""
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name not in found:
            file = descriptor_pool.Default().FindFileByName(name)
            for needed in file.dependencies:
                add(needed.name)
            found[name] = file.serialized_pb

    for name in ("ensemble/coordination/v1/coordination.proto", "shop/orders/v1/order.proto"):
        add(name)
    return descriptor_pb2.FileDescriptorSet(file=map(descriptor_pb2.FileDescriptorProto.FromString, found.values()))
