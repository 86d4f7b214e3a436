"""Many simulations, on all cores: seed after seed, and what became of them all."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from scripts.simulation.drawing import draw
from scripts.simulation.trial import Verdict, run

# Seeds that a process runs until it says how far it is.
BATCH = 5


@dataclass
class Tally:
    """What became of the seeds so far."""

    seeds: int = 0
    failed: dict[int, list[str]] = field(default_factory=dict)  # what was wrong, by seed
    endings: Counter[str] = field(default_factory=Counter)  # orders
    happened: Counter[str] = field(default_factory=Counter)  # faults, by kind
    harm: Counter[str] = field(default_factory=Counter)  # what came of them
    virtual_s: float = 0.0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Seeds a second."""
        return self.seeds / self.seconds if self.seconds else 0.0

    def add(self, verdict: Verdict) -> None:
        """One more."""
        self.seeds += 1
        self.endings += verdict.endings
        self.happened += verdict.happened
        self.harm += verdict.harm
        self.virtual_s += verdict.virtual_s
        if verdict.faults:
            self.failed[verdict.plan.seed] = verdict.faults

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "seeds": self.seeds,
            "failed": {str(seed): faults for seed, faults in sorted(self.failed.items())},
            "orders": dict(sorted(self.endings.items())),
            "faults": dict(sorted(self.happened.items())),
            "harm": dict(sorted(self.harm.items())),
            "virtual_s": round(self.virtual_s, 1),
            "seconds": round(self.seconds, 1),
            "seeds_per_second": round(self.rate, 2),
        }


def run_all(seeds: range, jobs: int, told: Callable[[Tally], bool]) -> Tally:
    """Runs seeds, in about their order. `told` hears of every step and says whether to go on."""
    tally, began = Tally(), time.perf_counter()
    batches = (seeds[at : at + BATCH] for at in range(0, len(seeds), BATCH))
    with contextlib.closing(_one_by_one(batches) if jobs == 1 else _in_parallel(batches, jobs)) as results:
        for verdicts in results:
            for verdict in verdicts:
                tally.add(verdict)
            tally.seconds = time.perf_counter() - began
            if not told(tally):
                break
    return tally


def _in_parallel(batches: Iterator[range], jobs: int) -> Generator[list[Verdict], None, None]:
    # Not forked: a child would inherit whatever the caller has open.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        under_way: set[Future[list[Verdict]]] = {pool.submit(_run_batch, one) for one in islice(batches, 2 * jobs)}
        while under_way:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for one in done:
                yield one.result()
            under_way |= {pool.submit(_run_batch, one) for one in islice(batches, len(done))}


def _one_by_one(batches: Iterator[range]) -> Generator[list[Verdict], None, None]:
    for batch in batches:
        yield _run_batch(batch)


def _run_batch(seeds: range) -> list[Verdict]:
    verdicts = [run(draw(seed)) for seed in seeds]
    for verdict in verdicts:
        verdict.log = []  # long, and had again from the seed
    return verdicts
