"""`ensemble up`: how a mesh begins, ends, and is picked up where its supervisor was killed."""

from __future__ import annotations

import json
import os
import re
import signal
from datetime import datetime
from pathlib import Path

from foreground import Foreground, file_of, foreground, processes_of

from console.precedence import STANDS_BACK
from services import SERVICES
from tests.harness import ensemble

READY = "Ctrl-C ends it"


def placed(data: Path) -> str:
    """The status in which one order ended."""
    done = ensemble("order", "--json", data=data)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["status"])


def log_times(mesh: Foreground, name: str) -> list[datetime]:
    """When a part wrote the lines of its log."""
    lines = map(json.loads, mesh.log_of(name).splitlines())
    return [datetime.strptime(line["asctime"], "%Y-%m-%d %H:%M:%S,%f") for line in lines]


def stop_time(mesh: Foreground, name: str) -> datetime:
    """When a part began to stop."""
    lines = map(json.loads, mesh.log_of(name).splitlines())
    (stops,) = (line["asctime"] for line in lines if line["message"] == f"{name} stops")
    return datetime.strptime(stops, "%Y-%m-%d %H:%M:%S,%f")


def broker_stop_time(mesh: Foreground) -> datetime:
    found = re.search(r"(\S+ \S+) \[INF\] Initiating Shutdown", mesh.log_of("nats-server"))
    assert found is not None
    return datetime.strptime(found[1], "%Y/%m/%d %H:%M:%S.%f")


async def test_two_meshes_side_by_side_and_ctrl_c_ends_one_in_order(tmp_path: Path) -> None:
    with foreground(tmp_path / "one") as one, foreground(tmp_path / "other") as other:
        await one.says(READY)
        await other.says(READY)
        for mesh in (one, other):
            for part in mesh.file.parts:
                assert re.search(rf"{part.name} +{part.address} +pid {part.pid} +SERVING", mesh.output)
            assert mesh.file.nats_url in mesh.output
            assert placed(mesh.data) == "COMPLETED"
        assert not set(processes_of(one.data)) & set(processes_of(other.data))

        assert await one.ended(signal.SIGINT) == 0
        assert processes_of(one.data) == {}
        assert not (one.data / "mesh.json").exists()
        assert log_times(one, "orchestrator")[-1] <= min(stop_time(one, name) for name in SERVICES)
        assert max(log_times(one, name)[-1] for name in SERVICES) <= broker_stop_time(one)
        for name in (*SERVICES, "orchestrator"):
            assert "Traceback" not in one.log_of(name)
            assert "connection to the broker is lost" not in one.log_of(name)

        assert placed(other.data) == "COMPLETED"
        assert ensemble("down", data=other.data).returncode == 0
        assert other.supervisor.wait(5) == 0
        assert processes_of(other.data) == {}


async def test_the_services_behind_the_first_one_have_a_processor_after_it_and_the_orchestrator(tmp_path: Path) -> None:
    with foreground(tmp_path) as mesh:
        await mesh.says(READY)
        nice = {part.name: os.getpriority(os.PRIO_PROCESS, part.pid) for part in mesh.file.parts}
        first = nice["orchestrator"]
        assert nice == {name: first if name in ("orchestrator", "orders") else first + STANDS_BACK for name in nice}
        assert await mesh.ended(signal.SIGINT) == 0


async def test_the_parts_end_when_the_supervisor_is_killed_and_the_next_up_clears_away_the_broker(
    tmp_path: Path,
) -> None:
    data = tmp_path / ("long " * 20 + "folder") / "mesh"  # command lines are easily cut off at 80 columns
    data.parent.mkdir()
    with foreground(data) as killed:
        await killed.says(READY)
        assert placed(data) == "COMPLETED"
        leftover = file_of(data).nats_pid
        assert await killed.ended(signal.SIGKILL) == -signal.SIGKILL
        await killed.gone(besides=(leftover,))
        assert ensemble("status", data=data).returncode == 1
        assert set(processes_of(data)) == {leftover}  # it has no supervisor any more, and goes on
        with foreground(data) as again:
            await again.says(READY)
            assert leftover not in processes_of(data), "two brokers write to one store"
            assert placed(data) == "COMPLETED"
            audit = ensemble("audit", "--json", data=data)
            assert json.loads(audit.stdout)["orders"]["COMPLETED"] == 2
            assert await again.ended(signal.SIGTERM) == 0
            assert processes_of(data) == {}


async def test_a_second_ctrl_c_during_the_start_leaves_no_process(tmp_path: Path) -> None:
    with foreground(tmp_path / "mesh") as mesh:
        await mesh.started()
        mesh.supervisor.send_signal(signal.SIGINT)
        await mesh.says("stopping")
        await mesh.ended(signal.SIGINT, within_s=10)
        await mesh.gone()
