"""Who has a processor first: those through whom work comes in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from console.precedence import NICEST, entrances, stand_back

ONE_MORE_THREAD = "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); print(flush=True)"

linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="threads and sessions have nice values of their own on Linux only"
)


@contextmanager
def a_process() -> Iterator[int]:
    """With two threads, in a session of its own."""
    command = [sys.executable, "-c", ONE_MORE_THREAD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process.pid
        finally:
            process.kill()


def nice_values(pid: int) -> set[int]:
    """Of the threads, and of the session, where there is one."""
    threads = [int(thread) for thread in os.listdir(f"/proc/{pid}/task")]
    assert len(threads) == 2
    session = Path(f"/proc/{pid}/autogroup")
    of_session = {int(session.read_text().rpartition(" ")[2])} if session.exists() else set()
    return {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} | of_session


def test_work_comes_in_through_the_service_that_owns_a_starting_event() -> None:
    assert entrances(["shop"]) == {"orders"}
    assert entrances([]) == set()


@linux_only
def test_a_process_stands_back_with_every_thread_and_its_session_from_where_it_stood() -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    with a_process() as pid:
        stand_back(pid, 3)
        stand_back(pid, 2)  # at once, where the kernel may take but one in a tenth of a second
        assert nice_values(pid) <= {own + 5, 5}
        stand_back(pid, NICEST)
        assert nice_values(pid) == {NICEST}
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


def test_a_process_that_has_ended_is_no_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    stand_back(process.pid, 5)
