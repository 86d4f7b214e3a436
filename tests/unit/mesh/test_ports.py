"""Ports that are chosen before they are bound."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from mesh.ports import free_port

HOST = "127.0.0.1"
GIVE_TEN = f"from mesh.ports import free_port; print(*(free_port({HOST!r}) for _ in range(10)))"


def test_no_port_is_given_twice_though_nobody_has_bound_it_yet() -> None:
    given = [free_port(HOST) for _ in range(3000)]
    assert len(set(given)) == len(given)


def test_processes_that_look_at_the_same_time_are_given_different_ports() -> None:
    looking = [subprocess.Popen([sys.executable, "-c", GIVE_TEN], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    given = [port for process in looking for port in process.communicate(timeout=30)[0].split()]
    assert len(given) == len(set(given)) == 40


@pytest.mark.parametrize("any_", [True, False], ids=["any", "from one on"])
def test_a_port_that_somebody_has_is_passed_by(any_: bool) -> None:
    with socket.socket() as somebody:
        taken = free_port(HOST)
        somebody.bind((HOST, taken))
        somebody.listen()
        found = [free_port(HOST) for _ in range(100)] if any_ else [free_port(HOST, taken)]
        assert taken not in found
        assert any_ or found[0] > taken
