"""A mesh whose start is interrupted leaves nothing behind, whenever that is."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from console import control


def test_what_is_pressed_while_the_supervisor_is_being_started_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def interrupted(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(start(*arguments, **options))
        signal.raise_signal(signal.SIGINT)  # nobody but this has heard of the process yet
        return started[0]

    monkeypatch.setattr(control.subprocess, "Popen", interrupted)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            control.up_detached(tmp_path, base_port=0)
        left = started[0].poll() is None
    finally:
        signal.signal(signal.SIGINT, handler)
        started[0].kill()
        started[0].wait(10)
    assert not left, "the supervisor runs on, and nobody knows of it"
