"""One run of a benchmark: says where it is measured, takes turns, shows them, and draws them at the end."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mesh import machine
from mesh.lifecycle import spare_the_collector
from scripts.benchmarks import profiles
from scripts.benchmarks.load import measure
from scripts.benchmarks.parts import Parts
from scripts.benchmarks.plan import Plan
from scripts.benchmarks.processor import spent_s
from scripts.benchmarks.turns import HEAD, Subject, Turns, take_turns

NOT_PYTHON = ("nats-server", "postgres")  # py-spy sees nothing in them


class Session:
    """What has been measured so far, and how it is shown: for people, as a table, or an object a line."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.machine = machine.describe(folder)
        self.measured: list[Turns] = []

    def head(self, lines: Iterable[str]) -> None:
        """What stands above the figures: where and how they were measured."""
        print("\n".join(lines), file=sys.stderr if self.plan.as_json else sys.stdout, flush=True)

    async def measure(
        self,
        subjects: Sequence[Subject],
        parts: Parts,
        common: Mapping[str, str | int],
        remarks: Mapping[int, str] | None = None,
    ) -> None:
        """Takes turns at each number in flight. `remarks`, by that number, are what is aimed at."""
        plan, spent = self.plan, partial(spent_s, parts.pids())
        for in_flight in plan.in_flight:
            turns = await take_turns(
                subjects, common=common, in_flight=in_flight, rounds=plan.rounds, seconds=plan.seconds, spent=spent
            )
            if plan.as_markdown and not self.measured:
                self.head(["", *HEAD])
            self.measured.append(turns)
            self._show(turns, (remarks or {}).get(in_flight, ""))
        if plan.profile is not None:
            for subject in subjects[1:]:
                await self._profile(subject, parts, plan.profile.joinpath(*map(str, common.values()), subject.name))

    def rows(self) -> Iterator[dict[str, object]]:
        """All that was measured, as `--json` prints it."""
        for turns in self.measured:
            yield from self._rows(turns)

    def _rows(self, turns: Turns) -> Iterator[dict[str, object]]:
        return (row | {"machine": self.machine} for row in turns.to_json())

    def _show(self, turns: Turns, remark: str) -> None:
        if self.plan.as_json:
            lines = [json.dumps(row) for row in self._rows(turns)]
        else:
            lines = list(turns.table() if self.plan.as_markdown else turns.lines(remark))
        print("\n".join(lines), flush=True)

    async def _profile(self, subject: Subject, parts: Parts, folder: Path) -> None:
        """A round more, which no figure comes from: to be looked at costs time."""
        seconds = self.plan.seconds
        python = {name: pid for name, pid in parts.pids().items() if name not in NOT_PYTHON}
        recording = asyncio.create_task(asyncio.to_thread(profiles.record, folder, python, seconds))
        while not recording.done():
            await measure(subject.once, in_flight=max(self.plan.in_flight), seconds=1.0, spent=dict)
        print("\n".join(await recording), file=sys.stderr, flush=True)


@contextmanager
def session(plan: Plan, folder: Path, x: str = "in_flight") -> Iterator[Session]:
    """A session; what it measured is drawn over `x`, a name in its rows, once it has ended well."""
    spare_the_collector()  # as the parts do, so that the client is no slower than they are
    running = Session(plan, folder)
    load, _, _ = os.getloadavg()
    running.head(
        [running.machine, f"{plan.rounds} rounds of {plan.seconds:g} s; load of the machine before: {load:.1f}"]
    )
    yield running
    if plan.plot is not None:
        from scripts.benchmarks import plot  # takes half a second

        plot.draw(plan.plot, list(running.rows()), x)
