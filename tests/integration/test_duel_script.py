"""`scripts/duel` as a command; the duels themselves are in tests/e2e."""

from __future__ import annotations

import subprocess
from pathlib import Path

DUEL = Path(__file__).resolve().parents[2] / "scripts" / "duel"


def test_wrong_usage_is_told_in_a_line_and_status_2() -> None:
    wrong = subprocess.run([DUEL, "--orders", "0"], capture_output=True, text=True, timeout=60, check=False)
    assert wrong.returncode == 2
    assert "--orders" in wrong.stderr
    assert "Traceback" not in wrong.stderr
