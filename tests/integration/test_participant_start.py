"""What a service says when it cannot start: one clear line, no traceback, and not exit status 0."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from participant_process import ServiceProcess, running_service

NO_BROKER = "nats://127.0.0.1:1"


async def refusal(service: ServiceProcess, status: int = 1) -> str:
    """What the one line says of a service that did not start."""
    assert await service.ended(within_s=15) == status
    lines = service.lines
    assert not any("Traceback" in line for line in lines), "\n".join(lines)
    own = [line for line in lines if not line.startswith("E")]  # gRPC's core writes a line of its own
    assert len(own) == 1, own
    return str(json.loads(own[0])["message"]) if own[0].startswith("{") else own[0]


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with running_service("inventory", tmp_path, ENSEMBLE_LISTEN=address, ENSEMBLE_NATS_URL=NO_BROKER) as service:
            said = await refusal(service)
    assert f"cannot listen on {address}: the port is taken" in said


async def test_an_address_of_another_machine_is_named(tmp_path: Path) -> None:
    with running_service("inventory", tmp_path, ENSEMBLE_LISTEN="256.1.1.1:1", ENSEMBLE_NATS_URL=NO_BROKER) as service:
        said = await refusal(service)
    assert "cannot listen on 256.1.1.1:1" in said
    assert "no address of this machine" in said


async def test_an_address_without_a_port_is_a_wrong_setting(tmp_path: Path) -> None:
    with running_service("inventory", tmp_path, ENSEMBLE_LISTEN="50051", ENSEMBLE_NATS_URL=NO_BROKER) as service:
        said = await refusal(service, status=2)
    assert "ENSEMBLE_LISTEN" in said


async def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    with running_service("inventory", tmp_path, ENSEMBLE_CALLS_MAX="0", ENSEMBLE_NATS_URL=NO_BROKER) as service:
        said = await refusal(service, status=2)
    assert "ENSEMBLE_CALLS_MAX" in said


async def test_a_setting_that_is_no_json_is_named(tmp_path: Path) -> None:
    with running_service("inventory", tmp_path, ENSEMBLE_ADDRESSES="a:1", ENSEMBLE_NATS_URL=NO_BROKER) as service:
        said = await refusal(service, status=2)
    assert "addresses" in said.lower()


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "databases").write_text("a file where the folder should be")
    with running_service("inventory", tmp_path, ENSEMBLE_NATS_URL=NO_BROKER) as service:
        said = await refusal(service)
    assert str(tmp_path / "databases") in said


async def test_a_database_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "databases").mkdir()
    path = tmp_path / "databases" / "inventory.db"
    path.write_text("no database" * 100)
    with running_service("inventory", tmp_path, ENSEMBLE_NATS_URL=NO_BROKER) as service:
        said = await refusal(service)
    assert str(path) in said


async def test_an_unknown_broker_is_told_with_what_to_do(tmp_path: Path) -> None:
    with running_service("inventory", tmp_path, ENSEMBLE_NATS_URL="") as service:
        said = await refusal(service)
    assert "ensemble up" in said
    assert "ENSEMBLE_NATS_URL" in said
