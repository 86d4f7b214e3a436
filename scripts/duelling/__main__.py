"""`scripts/duel`. Exit status: 0 all is right, 1 a fault, 2 wrong usage."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import click

from console import control
from console.client import MeshClient
from mesh.settings import Settings
from scripts.duelling.duel import Report, duel


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--orders", "count", type=click.IntRange(1), default=1000, show_default=True, help="How many.")
@click.option("--at-once", type=click.IntRange(1), default=20, show_default=True, help="So many at a time.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the moments of cancellation.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def main(count: int, at_once: int, seed: int, as_json: bool) -> None:
    """Drives orders by orchestrator and choreography at once, on a mesh of its own, and audits what comes of it."""
    # A SIGTERM ends it as Ctrl-C does, so that the mesh is stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    data = Path(tempfile.mkdtemp(prefix="ensemble-duel-"))
    try:
        control.up_detached(data, base_port=0)
        report = asyncio.run(_run(Settings(data=data), count, at_once, seed))
    except (control.StartFailed, OSError) as error:
        print(f"the duel cannot run: {error}; the logs are in {data / 'logs'}", file=sys.stderr)
        sys.exit(1)
    finally:
        with contextlib.suppress(control.NotRunning):
            control.down(data)
    print(json.dumps(report.to_json()) if as_json else _text(report), flush=True)
    if report.faults:
        print(f"the databases and logs are in {data}", file=sys.stderr)
        sys.exit(1)
    shutil.rmtree(data, ignore_errors=True)


async def _run(settings: Settings, count: int, at_once: int, seed: int) -> Report:
    async with MeshClient(settings) as mesh:
        return await duel(mesh, settings, count, at_once=at_once, seed=seed)


def _text(report: Report) -> str:
    counts = {
        "first at the order's row": report.first,
        "ended as": report.ends,
        "cancellations": report.cancellations,
    }
    lines = [f"{report.orders} orders, each driven by both styles at once, in {report.seconds:.1f} s"]
    lines += [
        f"  {what}: {', '.join(f'{n} {name.lower()}' for name, n in sorted(of.items()))}" for what, of in counts.items()
    ]
    lines += [f"  FAULT: {fault}" for fault in report.faults]
    return "\n".join(
        lines + ([] if report.faults else ["  every effect once, both sides agree, and the books are right"])
    )


if __name__ == "__main__":
    main(prog_name="scripts/duel")
