"""The README's worked example, followed word by word in a copy of the repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc.aio
import pytest

from tests.harness import eventually

ROOT = Path(__file__).resolve().parent.parent.parent
PATHS = ("protos", "mesh", "eventbus", "services", "orchestrator", "console", "scripts")
# "… : `path`", and behind it a block of code.
STEP = re.compile(r"`([\w/]+\.(?:proto|py))`\n\n```\w+\n(.*?)```", re.DOTALL)


def steps_of_the_readme() -> dict[str, str]:
    section = (ROOT / "README.md").read_text().split("## Adding a service")[1].split("\n## ")[0]
    return dict(STEP.findall(section))


class Copy:
    """A copy of the repository, run with this environment's packages but its own code."""

    def __init__(self, root: Path) -> None:
        self.root = root
        path = os.pathsep.join((str(root), str(root / "protos" / "gen")))
        self.environment = {**os.environ, "PYTHONPATH": path}

    def python(self, *arguments: str) -> str:
        command = [sys.executable, "-P", *arguments]
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False, timeout=90
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ensemble(self, *arguments: str) -> str:
        return self.python("-m", "console.main", *arguments, "--data", str(self.root / "data"))


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    for name in PATHS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    copied = Copy(tmp_path)
    yield copied
    if (tmp_path / "data" / "mesh.json").exists():
        copied.ensemble("down")


async def test_the_loyalty_service_of_the_readme_observes_completed_orders(copy: Copy) -> None:
    steps = steps_of_the_readme()
    registration = steps.pop("services/__init__.py")
    assert set(steps) == {"protos/shop/loyalty/v1/loyalty.proto", "services/loyalty/service.py"}
    assert registration.strip().count("\n") == 0, "the registration is one line"
    for path, text in steps.items():
        (copy.root / path).parent.mkdir(parents=True, exist_ok=True)
        (copy.root / path).write_text(text)
    registry = copy.root / "services" / "__init__.py"
    registry.write_text(registry.read_text().replace("SERVICES = {\n", f"SERVICES = {{\n{registration}"))

    copy.python("scripts/generate.py")
    copy.python("scripts/generate.py", "--lint")
    copy.ensemble("up", "--detach", "--base-port", "0")
    status = json.loads(copy.ensemble("status", "--json"))
    address = next(part["address"] for part in status["parts"] if part["name"] == "loyalty")
    for style in ("orchestrated", "choreographed"):
        copy.ensemble("order", "--style", style, "--quantity", "3")
    async with grpc.aio.insecure_channel(address) as channel:
        get_points = channel.unary_unary("/shop.loyalty.v1.LoyaltyService/GetPoints")
        # GetPointsRequest{customer_id: "customer-1"} and GetPointsResponse{points: 6}, by hand: no stubs here.
        request = b"\x0a\x0acustomer-1"

        async def awarded() -> bool:
            return bool(await get_points(request) == b"\x08\x06")

        await eventually(awarded, what="three points for each of two orders")
