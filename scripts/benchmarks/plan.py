"""What is measured and for how long, as the command line says, and how it is shown."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click
import uvloop

from mesh import machine
from mesh.lifecycle import spare_the_collector
from scripts.benchmarks.turns import Turns

IN_FLIGHT, QUICK_IN_FLIGHT = (1, 16, 64, 256), (1, 16)
ROUNDS, QUICK_ROUNDS = 5, 1
SECONDS, QUICK_SECONDS = 1.5, 0.3
# As many sagas as an orchestrator runs at once, and as many calls as it serves, unless told otherwise.
IN_FLIGHT_MAX = 1024

# Shows some turns, and what is aimed at in them, if anything.
Show = Callable[[Turns, str], None]


@dataclass(frozen=True)
class Plan:
    """How many at a time, how often, and for how long."""

    in_flight: tuple[int, ...]
    rounds: int
    seconds: float
    as_json: bool

    def begin(self, folder: Path) -> Show:
        """Says where it is measured, and gives what shows the figures: for people, or an object a line."""
        spare_the_collector()  # as the parts do, so that the client is no slower than they are
        where = machine.describe(folder)
        print(where, file=sys.stderr if self.as_json else sys.stdout, flush=True)

        def show(turns: Turns, aim: str) -> None:
            as_lines = (json.dumps(one | {"machine": where}) for one in turns.to_json())
            print("\n".join(as_lines if self.as_json else turns.lines(aim)), flush=True)

        return show


def planned(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that make a Plan, which is its first argument."""

    @click.option("--json", "as_json", is_flag=True, help="One object a line; nothing else on standard output.")
    @click.option("--quick", is_flag=True, help="A smoke test of a few seconds; its figures say little.")
    @click.option("--rounds", type=click.IntRange(1, 1000), help=f"How often each is measured (default {ROUNDS}).")
    @click.option("--seconds", type=click.FloatRange(0.05, 600), help=f"How long each time (default {SECONDS}).")
    @click.option(
        "--in-flight",
        type=click.IntRange(1, IN_FLIGHT_MAX),
        multiple=True,
        help=f"How many at a time; may be given more than once (default {', '.join(map(str, IN_FLIGHT))}).",
    )
    @wraps(command)
    def with_plan(
        as_json: bool,
        quick: bool,
        rounds: int | None,
        seconds: float | None,
        in_flight: tuple[int, ...],
        **others: Any,
    ) -> None:
        plan = Plan(
            in_flight=in_flight or (QUICK_IN_FLIGHT if quick else IN_FLIGHT),
            rounds=rounds or (QUICK_ROUNDS if quick else ROUNDS),
            seconds=seconds or (QUICK_SECONDS if quick else SECONDS),
            as_json=as_json,
        )
        command(plan, **others)

    return with_plan


def run(work: Coroutine[Any, Any, None]) -> None:
    """On a loop like that of every part of the mesh."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)
