"""What overload is judged by, and that its load has the processors first."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mesh.addresses import MeshFile, Part
from scripts.faulting.overload import broken
from scripts.faulting.priority import STANDS_BACK, stand_back


def turn(goodput: float = 1.0, answer: float = 1.0) -> dict[str, float]:
    return {"goodput": goodput, "p99 to the answer": answer}


def test_the_middle_one_of_the_turns_is_judged() -> None:
    assert list(broken([turn(answer=9.0), turn(answer=1.9), turn(answer=1.0)])) == []
    assert list(broken([turn(answer=9.0), turn(answer=2.1), turn(answer=1.0)])) == [
        "p99 to the answer is 2.10 of the peak's"
    ]
    assert list(broken([turn(goodput=0.7)])) == ["goodput is 0.70 of the peak's"]


def test_where_nothing_was_measured_nothing_holds() -> None:
    nan = float("nan")
    assert len(list(broken([turn(nan, nan)]))) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a nice value of their own on Linux only")
def test_every_thread_of_the_mesh_stands_back() -> None:
    code = "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); print(flush=True)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            stand_back(MeshFile(0, "", process.pid, [Part("orders", "orders", process.pid, "")]))
            threads = [int(thread) for thread in os.listdir(f"/proc/{process.pid}/task")]
            assert len(threads) == 2
            assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {STANDS_BACK}
        finally:
            process.kill()
