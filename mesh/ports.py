"""Free ports of this machine, for processes that are told theirs before they start."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterable

# Below the range from which systems give outgoing connections theirs (32768 and up on Linux, 49152 on others): a port
# from there may be free when it is looked for, and somebody's connection when it is to be bound.
_QUIET = range(20_000, 32_000)
# Whoever is given a port binds it later: until then it looks free. So a process goes on from the last one that it gave,
# and begins where others that look at the same time do not (97 shares no factor with the length of the range).
_next = itertools.count(os.getpid() * 97)


class NoFreePort(OSError):
    """None of the ports that were looked at is free."""


def free_port(host: str, wanted: int = 0) -> int:
    """A free port: `wanted`, or the next free one behind it; with 0 one that was never given. Raises NoFreePort."""
    some = (_QUIET[number % len(_QUIET)] for number in itertools.islice(_next, 1000))
    ports: Iterable[int] = range(wanted, wanted + 1000) if wanted else some
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise NoFreePort(f"no free port from {wanted or _QUIET.start} on")
