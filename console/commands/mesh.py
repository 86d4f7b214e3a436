"""`ensemble up`, `status`, `down`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from console.commands.common import Failed, data_option, database_option, json_option, say, settings_for
from mesh.addresses import UnknownAddress

# More on one machine is a slip of the finger.
REPLICAS_MAX = 16


@click.command()
@data_option
@click.option(
    "--base-port",
    default=50051,
    show_default=True,
    type=click.IntRange(0, 65000),
    help="First port to use; the next free ones follow. 0: any free ones.",
)
@click.option("--detach", is_flag=True, help="Run in the background; return once all parts serve.")
@database_option
@click.option("--replicas", metavar="NAME=N", multiple=True, help="Run a part N times (PostgreSQL only). Repeatable.")
def up(data: Path, base_port: int, detach: bool, database_url: str, replicas: tuple[str, ...]) -> None:
    """Start the broker, every service and the orchestrator; end all on Ctrl-C, in order."""
    from console import control, supervisor

    counts = _counts(replicas, supervisor.PARTS)
    settings = settings_for(data.resolve(), database_url=database_url)
    if counts and not database_url:
        raise click.UsageError(
            "replicas share a database, which SQLite files do not allow (one process owns a file): "
            "they need PostgreSQL; name it with --database, or leave --replicas out"
        )
    data = settings.data
    try:
        if detach:
            mesh = control.up_detached(data, base_port, database_url=database_url, replicas=counts)
            _print_parts(data, asyncio.run(control.health(mesh)))
            return
        parts = supervisor.Supervisor(
            data, base_port, say, settings.nats_url, database_url, settings.contract_packages, counts
        )
        asyncio.run(_up(parts, data))
    except (supervisor.CannotStart, control.StartFailed, OSError) as error:
        raise Failed(" ".join(str(error).split())) from None


def _counts(replicas: tuple[str, ...], parts: Collection[str]) -> dict[str, int]:
    """How many of each part; raises UsageError."""
    counts: dict[str, int] = {}
    for text in replicas:
        name, _, count = text.partition("=")
        if name not in parts:
            raise click.UsageError(f"--replicas {text}: it takes NAME=N, where NAME is one of {', '.join(parts)}")
        if not count.isascii() or not count.isdigit() or not 1 <= int(count) <= REPLICAS_MAX:
            raise click.UsageError(f"--replicas {text}: N is a number from 1 to {REPLICAS_MAX}")
        if name in counts:
            raise click.UsageError(f"--replicas {text}: {name} is named twice")
        counts[name] = int(count)
    return counts


async def _up(supervisor: Any, data: Path) -> None:
    announcing = asyncio.create_task(_announce(data), name="announce")
    try:
        await supervisor.run()
    finally:
        announcing.cancel()


async def _announce(data: Path) -> None:
    """Prints the addresses once every part serves."""
    from console import control
    from mesh.addresses import MeshFile

    while True:
        mesh = MeshFile.read(data)
        states = await control.health(mesh) if mesh else []
        if states and all(status.state == control.SERVING for status in states):
            _print_parts(data, states)
            say("Ctrl-C ends it. In another terminal: ensemble order")
            return
        await asyncio.sleep(0.2)


def _print_parts(data: Path, states: list[Any]) -> None:
    from mesh.addresses import MeshFile

    mesh = MeshFile.read(data)
    say(f"mesh in {data}")
    for status in states:
        say(f"  {status.part.name:<14} {status.part.address:<22} pid {status.part.pid:<8} {status.state}")
    if mesh is not None:
        say(f"  {'nats-server':<14} {mesh.nats_url:<22} {f'pid {mesh.nats_pid}' if mesh.nats_pid else 'elsewhere'}")


@click.command()
@data_option
@json_option
def status(data: Path, as_json: bool) -> None:
    """Show the parts of a running mesh; exit 1 where one does not serve."""
    from console import control

    data = data.resolve()
    try:
        mesh = control.running(data)
        states = asyncio.run(control.health(mesh))
    except (control.NotRunning, UnknownAddress) as error:
        raise Failed(str(error)) from None
    if as_json:
        parts = [
            {"name": one.part.name, "pid": one.part.pid, "address": one.part.address, "state": one.state}
            for one in states
        ]
        print(json.dumps({"parts": parts, "nats": {"url": mesh.nats_url, "pid": mesh.nats_pid}}))
    else:
        _print_parts(data, states)
    sys.exit(0 if all(one.state == control.SERVING for one in states) else 1)


@click.command()
@data_option
def down(data: Path) -> None:
    """End a mesh that runs in the background, in order."""
    from console import control

    try:
        control.down(data.resolve())
    except (control.NotRunning, TimeoutError, UnknownAddress) as error:
        raise Failed(str(error)) from None
    say("the mesh has ended")
