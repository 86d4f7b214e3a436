"""`ensemble compare`, in its smallest form: over real processes, one of which really dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from console.comparison import measuring
from console.comparison.faults import FAULTS
from console.comparison.measuring import Plan

# The command, with a plan whose healthy rounds are short and whose fault outlasts the test.
LONG_FAULT = """
from dataclasses import replace
from console.comparison import measuring
from console.main import main
from tests.e2e.test_compare import SMALL
measuring.QUICK = replace(SMALL, warm_s=0.05, round_s=0.1, before_s=0.0, fault_s=60.0)
main(["compare", "--quick", "--fault", "dead-participant"])
"""
SMALL = Plan(warm_s=0.1, rounds=1, round_s=0.4, at_once=4, per_second=5, before_s=0.5, fault_s=1.5, after_s=0.3)


def test_the_styles_are_compared_healthy_and_with_a_dead_orchestrator() -> None:
    said: list[str] = []
    fault = next(one for one in FAULTS if one.name == "dead-orchestrator")
    comparison = measuring.compare(SMALL, [fault], said.append)
    assert comparison.good
    by_calls, by_events = comparison.healthy["ORCHESTRATED"], comparison.healthy["CHOREOGRAPHED"]
    # StartSaga and the eight calls of the workflow; the one public event.
    assert by_calls.calls_per_order >= 9.0  # more, where one was tried again
    assert by_calls.messages_per_order == 1.0
    assert (by_events.calls_per_order, by_events.messages_per_order) == (0.0, 8.0)
    (scenario,) = comparison.scenarios
    dead = scenario.styles["ORCHESTRATED"]
    assert len(dead.during) >= 4
    assert dead.ended_during == 0
    assert scenario.styles["CHOREOGRAPHED"].ended_during > 0
    assert scenario.styles["HYBRID"].ended_during > 0
    assert said[-1] == "the books of all services"
    json.dumps(comparison.to_json(), allow_nan=False)


def test_ctrl_c_in_the_middle_of_a_fault_ends_all_that_was_started(tmp_path: Path) -> None:
    root = str(Path(__file__).resolve().parents[2])
    compare = subprocess.Popen(
        [sys.executable, "-c", LONG_FAULT],
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": root},
        stderr=subprocess.DEVNULL,
    )

    deadline = time.monotonic() + 60
    try:
        while not any(line.startswith("T") and "console.main up" in line for line in naming(tmp_path)):
            assert time.monotonic() < deadline, "the supervisor was not stopped, as it is during the fault"
            time.sleep(0.1)
        compare.send_signal(signal.SIGINT)
        compare.wait(60)
    finally:
        compare.kill()
    assert compare.returncode == 1
    assert not list(tmp_path.iterdir())
    assert not naming(tmp_path)


def naming(folder: Path) -> list[str]:
    """State and command of the processes whose command names the folder."""
    listed = subprocess.run(["ps", "-ww", "-eo", "stat,command"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if str(folder) in line]
