"""`ensemble` and its commands. Exit status: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import click

from console.commands.checks import audit, graph, verify
from console.commands.compare import compare
from console.commands.dead_letters import dead_letters
from console.commands.mesh import down, status, up
from console.commands.orders import order, stock
from console.commands.sagas import saga


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ensemble-mesh")
def main() -> None:
    """Ensemble: one contract, orchestrated and choreographed."""


for command in (up, status, down, order, stock, saga, dead_letters, graph, verify, audit, compare):
    main.add_command(command)


if __name__ == "__main__":
    main()
