"""The benchmark runs and says what it measured. What it measured is the machine's affair, and no test's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
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
    bench = start(tmp_path, "orchestrated", "--quick", "--json", "--in-flight", "4")
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


def test_the_chain_by_hand_and_the_choreography_are_measured_on_both_ways(tmp_path: Path) -> None:
    bench = start(tmp_path, "choreographed", "--quick", "--json", "--in-flight", "4")
    output, errors = bench.communicate(timeout=90)
    assert bench.returncode == 0, errors  # also that both published the same events, for the same order
    rows = [json.loads(line) for line in output.splitlines()]
    assert [(row["subject"], row["way"], row["sync"], row["in_flight"]) for row in rows] == [
        ("floor", "order", "always", 4),
        ("choreography", "order", "always", 4),
        ("floor", "tail", "always", 4),
        ("choreography", "tail", "always", 4),
    ]
    for row in rows:
        assert all(row[figure] > 0 for figure in FIGURES), row
        assert "nats-py" in row["machine"]
    assert not list(tmp_path.iterdir())
    assert not still_running(tmp_path)


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
