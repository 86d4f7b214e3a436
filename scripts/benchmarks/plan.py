"""What is measured and for how long, as the command line says."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click
import grpc.aio
import nats.errors

from mesh import lifecycle
from scripts.benchmarks.alike import Unlike
from scripts.benchmarks.load import Incomplete
from scripts.benchmarks.parts import PartFailed

IN_FLIGHT, QUICK_IN_FLIGHT = (1, 16, 64, 256), (1, 16)
ROUNDS, QUICK_ROUNDS = 5, 1
SECONDS, QUICK_SECONDS = 1.5, 0.3
# As many sagas as an orchestrator runs at once, and as many calls as it serves, unless told otherwise.
IN_FLIGHT_MAX = 1024

_FAILURES = (PartFailed, Incomplete, Unlike, grpc.aio.AioRpcError, nats.errors.Error, OSError)
_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@dataclass(frozen=True)
class Plan:
    """How many at a time, how often, and for how long; and how it is shown."""

    in_flight: tuple[int, ...]
    rounds: int
    seconds: float
    as_json: bool
    as_markdown: bool
    plot: Path | None
    profile: Path | None


def planned(*in_flight_by_default: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options that make a Plan, which is its first argument; failures end it with one line."""
    in_flight_by_default = in_flight_by_default or IN_FLIGHT
    options = (
        click.option("--json", "as_json", is_flag=True, help="One object a line; nothing else on standard output."),
        click.option("--markdown", "as_markdown", is_flag=True, help="A table, as docs/performance.md has it."),
        click.option("--plot", type=_FILE, help="Also draws it, into this file (.svg or .png)."),
        click.option(
            "--profile",
            type=_FOLDER,
            help="At the end writes into this folder what the parts do, for --seconds.",
        ),
        click.option("--quick", is_flag=True, help="A smoke test of a few seconds; its figures say little."),
        click.option("--rounds", type=click.IntRange(1, 1000), help=f"How often each is measured (default {ROUNDS})."),
        click.option("--seconds", type=click.FloatRange(0.05, 600), help=f"How long each time (default {SECONDS})."),
        click.option(
            "--in-flight",
            type=click.IntRange(1, IN_FLIGHT_MAX),
            multiple=True,
            help="How many at a time; may be given more than once "
            f"(default {', '.join(map(str, in_flight_by_default))}).",
        ),
    )

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def with_plan(
            quick: bool,
            rounds: int | None,
            seconds: float | None,
            in_flight: tuple[int, ...],
            as_json: bool,
            as_markdown: bool,
            plot: Path | None,
            profile: Path | None,
            **others: Any,
        ) -> None:
            if plot is not None and plot.suffix not in (".svg", ".png"):
                raise click.BadParameter("a file that ends in .svg or .png", param_hint="--plot")
            plan = Plan(
                in_flight=in_flight or (QUICK_IN_FLIGHT if quick else in_flight_by_default),
                rounds=rounds or (QUICK_ROUNDS if quick else ROUNDS),
                seconds=seconds or (QUICK_SECONDS if quick else SECONDS),
                as_json=as_json,
                as_markdown=as_markdown,
                plot=plot,
                profile=profile,
            )
            try:
                command(plan, **others)
            except _FAILURES as error:
                raise click.ClickException(str(error) or type(error).__name__) from None

        with_them = with_plan
        for option in reversed(options):
            with_them = option(with_them)
        return with_them

    return with_options


def run(work: Coroutine[Any, Any, None]) -> None:
    """On a loop like that of every part of the mesh."""
    with lifecycle.runner() as runner:
        runner.run(work)
