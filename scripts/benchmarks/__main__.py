"""`scripts/bench`. Exit status: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import signal

import click

from scripts.benchmarks.choreographed import choreographed
from scripts.benchmarks.document import document
from scripts.benchmarks.mixed import mixed
from scripts.benchmarks.orchestrated import orchestrated
from scripts.benchmarks.parked import parked
from scripts.benchmarks.replicas import replicas
from scripts.benchmarks.services import services


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Measures what coordination costs, on this machine."""
    # A SIGTERM ends it as Ctrl-C does, so that what was started is ended on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


main.add_command(choreographed)
main.add_command(document)
main.add_command(mixed)
main.add_command(orchestrated)
main.add_command(parked)
main.add_command(replicas)
main.add_command(services)


if __name__ == "__main__":
    main(prog_name="scripts/bench")
