"""The benchmark runs and says what it measured. What it measured is the machine's affair, and no test's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests import postgres

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
SHORT = ("--quick", "--seconds", "0.05", "--in-flight", "4")
FIGURES = [f"{figure}{of}" for figure in ("per_second", "p50_ms", "p99_ms") for of in ("", "_min", "_max")]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [BENCH, *arguments],
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def still_running(folder: Path) -> str:
    """The command lines that name the folder."""
    listed = subprocess.run(["ps", "-ww", "-eo", "command"], capture_output=True, text=True, check=True)
    return "\n".join(line for line in listed.stdout.splitlines() if str(folder) in line)


def test_floor_and_saga_are_measured_on_both_kinds_of_participants(tmp_path: Path) -> None:
    bench = start(tmp_path, "orchestrated", *SHORT, "--json")
    output, errors = bench.communicate(timeout=90)
    assert bench.returncode == 0, errors
    rows = [json.loads(line) for line in output.splitlines()]
    assert [(row["subject"], row["participants"], row["in_flight"]) for row in rows] == [
        ("floor", "noop", 4),
        ("saga", "noop", 4),
        ("floor", "ledger", 4),
        ("saga", "ledger", 4),
    ]
    for row in rows:
        assert all(row[figure] > 0 for figure in FIGURES), row
        assert "grpcio" in row["machine"]
    assert not list(tmp_path.iterdir())
    assert not still_running(tmp_path)


def test_both_styles_at_once_are_measured_and_drawn(tmp_path: Path) -> None:
    plot, work = tmp_path / "mixed.svg", tmp_path / "work"
    work.mkdir()
    bench = start(work, "mixed", *SHORT, "--json", "--plot", str(plot))
    output, errors = bench.communicate(timeout=90)
    assert bench.returncode == 0, errors
    floor, mixed = (json.loads(line) for line in output.splitlines())
    assert (floor["subject"], mixed["subject"], mixed["styles"]) == ("floor", "mixed", "half and half")
    assert all(row[figure] > 0 for figure in FIGURES for row in (floor, mixed))
    assert "half and half" in plot.read_text()
    assert not list(work.iterdir())
    assert not still_running(work)


def test_a_line_of_services_is_measured_and_profiled(tmp_path: Path) -> None:
    profile, work = tmp_path / "profile", tmp_path / "work"
    work.mkdir()
    bench = start(work, "services", *SHORT, "--services", "2", "--markdown", "--profile", str(profile))
    check_table(*bench.communicate(timeout=90))
    for subject in ("saga", "choreography"):
        parts = {file.stem: file.read_text() for file in (profile / "2" / subject).iterdir()}
        assert parts.keys() == {"hop-hop1", "hop-hop2", "orchestrator"}
        assert "(mesh/lifecycle.py" in parts["orchestrator"]
    assert not list(work.iterdir())
    assert not still_running(work)


@pytest.mark.skipif(postgres.binary("initdb") is None, reason=postgres.HOW_TO_GET_IT)
def test_two_replicas_of_every_participant_are_measured(tmp_path: Path) -> None:
    bench = start(tmp_path, "replicas", *SHORT, "--replicas", "2", "--markdown")
    check_table(*bench.communicate(timeout=90))
    assert not list(tmp_path.iterdir())
    assert not still_running(tmp_path)


def check_table(output: str, errors: str) -> None:
    """A table of one number in flight: two subjects beside the floor."""
    assert "\n\n| | in flight |" in output, errors
    *_, saga, choreography = output.splitlines()
    assert saga.startswith("| 2, saga | 4 | "), errors
    assert choreography.startswith("| 2, choreography | 4 | "), errors


def test_ctrl_c_ends_all_that_was_started(tmp_path: Path) -> None:
    bench = start(tmp_path, "orchestrated", "--seconds", "60", "--in-flight", "1")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/noop/orchestrator/databases/*")):  # all that comes before it runs
        assert time.monotonic() < deadline, "nothing was started"
        time.sleep(0.05)
    bench.send_signal(signal.SIGINT)
    bench.communicate(timeout=60)
    assert bench.returncode == 1
    assert not list(tmp_path.iterdir())
    assert not still_running(tmp_path)


def test_wrong_usage_is_told(tmp_path: Path) -> None:
    bench = start(tmp_path, "orchestrated", "--in-flight", "0")
    _, errors = bench.communicate(timeout=30)
    assert bench.returncode == 2
    assert "--in-flight" in errors
