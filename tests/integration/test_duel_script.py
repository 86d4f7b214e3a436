"""`scripts/duel` as a command; the duels themselves are in tests/e2e."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

DUEL = Path(__file__).resolve().parents[2] / "scripts" / "duel"


def test_it_runs_a_mesh_of_its_own_says_what_became_of_the_orders_and_leaves_nothing(tmp_path: Path) -> None:
    command = [DUEL, "--orders", "15", "--json"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["orders"], sum(report["ends"].values()), report["faults"]) == (15, 15, [])
    assert sum(report["cancellations"].values()) == 5
    assert list(tmp_path.iterdir()) == []


def test_wrong_usage_is_told_in_a_line_and_status_2() -> None:
    wrong = subprocess.run([DUEL, "--orders", "0"], capture_output=True, text=True, timeout=60, check=False)
    assert wrong.returncode == 2
    assert "--orders" in wrong.stderr
    assert "Traceback" not in wrong.stderr
