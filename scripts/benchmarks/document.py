"""Measures anew what docs/performance.md shows: each block of it names its benchmark, and holds what that printed.

    <!-- scripts/bench mixed -->
    where it was measured, and the table
    <!-- end -->

The plot of a benchmark lies beside it, as docs/figures/NAME.svg.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "figures"
_BLOCK = re.compile(r"<!-- scripts/bench (?P<command>\S+[^\n]*) -->\n(?P<held>.*?)<!-- end -->", re.DOTALL)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--only", "names", multiple=True, metavar="NAME", help="Of this benchmark; may be given more than once.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def document(names: tuple[str, ...], options: tuple[str, ...]) -> None:
    """Measures anew what docs/performance.md shows. OPTIONS go to each benchmark, e.g. --rounds 9."""
    commands = [command for command, _ in blocks(DOCUMENT.read_text())]
    if unknown := set(names) - set(map(_name, commands)):
        known = ", ".join(dict.fromkeys(map(_name, commands)))
        raise click.BadParameter(f"{DOCUMENT.name} shows {known}, not {', '.join(unknown)}", param_hint="--only")
    for command in commands:
        if not names or _name(command) in names:
            click.echo(f"scripts/bench {command}", err=True)
            measured = _measure(command, options)
            # Read again: each takes minutes, in which somebody may have edited it.
            DOCUMENT.write_text(replaced(DOCUMENT.read_text(), command, measured))


def blocks(text: str) -> list[tuple[str, str]]:
    """The blocks of a document: the command of each, and what it holds."""
    return [(found["command"], found["held"]) for found in _BLOCK.finditer(text)]


def replaced(text: str, command: str, held: str) -> str:
    """The document with what the block of this command holds now."""
    new = f"<!-- scripts/bench {command} -->\n{held}<!-- end -->"
    return _BLOCK.sub(lambda found: new if found["command"] == command else found[0], text)


def _measure(command: str, options: tuple[str, ...]) -> str:
    PLOTS.mkdir(exist_ok=True)
    plot = PLOTS / f"{command.replace(' --', '-').replace(' ', '-')}.svg"
    arguments = [*shlex.split(command), "--markdown", "--plot", str(plot), *options]
    run = subprocess.run([ROOT / "scripts" / "bench", *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        raise click.ClickException(f"scripts/bench {command} failed, and its block stays as it was")
    return run.stdout


def _name(command: str) -> str:
    return command.split()[0]
