"""Generates `protos/gen` from `protos/`: messages, stubs and their types.

`buf/validate/validate.proto` comes from the descriptor inside the installed protovalidate, so that rules and
validator are always of one version; `google/type` and `google/rpc` come generated from
googleapis-common-protos, and only their sources are read here.
"""

from __future__ import annotations

import argparse
import importlib.resources
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import google.type
from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

from mesh.registry import POSITIONS_FILE

BIN = Path(sys.executable).parent
PROTOS = Path(__file__).resolve().parent.parent / "protos"
OWN_ROOTS = sorted(path.name for path in PROTOS.iterdir() if path.is_dir() and path.name != "gen")


def sources() -> list[str]:
    """The paths of our own contracts, relative to `protos/`."""
    return [str(path.relative_to(PROTOS)) for root in OWN_ROOTS for path in sorted((PROTOS / root).rglob("*.proto"))]


def _validate_descriptor_set() -> bytes:
    """validate.proto and what it imports, as protoc's --descriptor_set_in takes them."""
    well_known = [
        descriptor_pb2.DESCRIPTOR.serialized_pb,
        *(
            __import__(f"google.protobuf.{name}_pb2", fromlist=["DESCRIPTOR"]).DESCRIPTOR.serialized_pb
            for name in ("duration", "field_mask", "timestamp")
        ),
    ]
    files = [descriptor_pb2.FileDescriptorProto.FromString(data) for data in well_known]
    files.append(descriptor_pb2.FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary()))
    return descriptor_pb2.FileDescriptorSet(file=files).SerializeToString()


def _include_paths() -> Iterator[str]:
    yield f"-I{PROTOS}"
    yield f"-I{Path(next(iter(google.type.__path__))).parent.parent}"
    yield f"-I{importlib.resources.files('grpc_tools') / '_proto'}"


def _plugins() -> Iterator[str]:
    """The plugins beside this Python, so that no PATH is needed."""
    for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc"):
        yield f"--plugin={name}={BIN / name}"


def _protoc(*arguments: str) -> None:
    with tempfile.NamedTemporaryFile(suffix=".binpb") as descriptors:
        descriptors.write(_validate_descriptor_set())
        descriptors.flush()
        command = ["protoc", *_include_paths(), *_plugins(), f"--descriptor_set_in={descriptors.name}", *arguments]
        if protoc.main(command) != 0:
            sys.exit("generate: protoc refused the contracts; its lines above say where")


def generate(out: Path) -> None:
    """Writes the generated code to `out`, in the place of all that was there."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "gen"
        fresh.mkdir()
        messages = [f"--python_out={fresh}", f"--mypy_out=quiet:{fresh}"]
        _protoc(*messages, *sources(), "buf/validate/validate.proto")
        services = [source for source in sources() if "\nservice " in (PROTOS / source).read_text()]
        _protoc(f"--grpc_python_out={fresh}", f"--mypy_grpc_out=quiet:{fresh}", *services)
        for root in OWN_ROOTS:
            _write_positions(fresh / root / POSITIONS_FILE, root)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(fresh, out)


def _write_positions(path: Path, root: str) -> None:
    """Writes where everything in the contracts of one top-level package stands, for messages that name lines.

    Comments are left out, since nobody reads them from there.
    """
    _protoc(f"--descriptor_set_out={path}", "--include_source_info", *(one for one in sources() if _root(one) == root))
    descriptors = descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
    for file in descriptors.file:
        for location in file.source_code_info.location:
            for comment in ("leading_comments", "trailing_comments", "leading_detached_comments"):
                location.ClearField(comment)  # type: ignore[arg-type]  # one of its fields
    path.write_bytes(descriptors.SerializeToString(deterministic=True))


def _root(source: str) -> str:
    return source.partition("/")[0]


def write_image(path: Path) -> None:
    """Writes the contracts as an image with imports and source positions, which buf can lint."""
    _protoc(f"--descriptor_set_out={path}", "--include_imports", "--include_source_info", *sources())


def lint() -> int:
    """Runs `buf lint` with the rules of `protos/buf.yaml`; returns its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "contracts.binpb"
        write_image(image)
        paths = [argument for root in OWN_ROOTS for argument in ("--path", root)]
        command = [BIN / "buf", "lint", image, "--config", PROTOS / "buf.yaml", *paths]
        return subprocess.run(command, check=False).returncode


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PROTOS / "gen", help="where to write (default: protos/gen)")
    parser.add_argument("--lint", action="store_true", help="only lint the contracts with buf")
    arguments = parser.parse_args()
    if arguments.lint:
        sys.exit(lint())
    generate(arguments.out)


if __name__ == "__main__":
    main()
