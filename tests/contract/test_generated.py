"""The generated code is that of the contracts, and the packages that we ask for can run it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
GEN = ROOT / "protos" / "gen"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def generate(*arguments: str) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "generate.py"), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_generated_code_is_that_of_the_contracts(tmp_path: Path) -> None:
    generate("--out", str(tmp_path / "gen"))
    fresh, committed = contents(tmp_path / "gen"), contents(GEN)
    differing = sorted(name for name in fresh | committed if fresh.get(name) != committed.get(name))
    assert differing == [], "run scripts/generate.py, and commit these files of protos/gen"
    assert fresh


def test_the_contracts_pass_bufs_standard_rules() -> None:
    generate("--lint")


def floor(package: str) -> Version:
    """The lowest version of a package that our project takes."""
    (requirement,) = (one for one in map(Requirement, PROJECT["project"]["dependencies"]) if one.name == package)
    (lowest,) = (Version(one.version) for one in requirement.specifier if one.operator in (">=", "==", "~="))
    return lowest


def generated(pattern: str) -> list[Path]:
    found = sorted(GEN.rglob(pattern))
    assert found
    return found


@pytest.mark.parametrize("path", generated("*_pb2.py"), ids=lambda path: path.name)
def test_the_lowest_protobuf_that_we_take_runs_the_generated_messages(path: Path) -> None:
    stated = re.search(r"Domain\.PUBLIC,\s*(\d+),\s*(\d+),\s*(\d+),", path.read_text())
    assert stated, "does not say which protobuf it needs"
    assert floor("protobuf") >= Version(".".join(stated.groups()))


@pytest.mark.parametrize("path", generated("*_pb2_grpc.py"), ids=lambda path: path.name)
def test_the_lowest_grpcio_that_we_take_runs_the_generated_stubs(path: Path) -> None:
    stated = re.search(r"GRPC_GENERATED_VERSION = '([\d.]+)'", path.read_text())
    assert stated, "does not say which grpcio it needs"
    assert floor("grpcio") >= Version(stated.group(1))


def test_the_generator_is_pinned_to_the_lowest_grpcio_that_we_take() -> None:
    assert f"grpcio-tools=={floor('grpcio')}" in PROJECT["dependency-groups"]["dev"]


@pytest.mark.parametrize("package", ["grpcio-health-checking", "grpcio-reflection", "grpcio-status"])
def test_grpcios_companions_have_its_floor(package: str) -> None:
    assert floor(package) == floor("grpcio")
