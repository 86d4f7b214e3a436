"""Free ports of this machine, for processes that are told theirs before they start."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable

# Below the range from which systems give outgoing connections theirs (32768 and up on Linux, 49152 on others): a port
# from there may be free when it is looked for, and somebody's connection when it is to be bound.
_QUIET = range(20_000, 32_000)


class NoFreePort(OSError):
    """None of the ports that were looked at is free."""


def free_port(host: str, wanted: int = 0) -> int:
    """A free port: `wanted`, or the next free one behind it; with 0 any. Raises NoFreePort."""
    ports: Iterable[int] = range(wanted, wanted + 1000) if wanted else random.sample(_QUIET, 1000)
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise NoFreePort(f"no free port from {wanted or _QUIET.start} on")
