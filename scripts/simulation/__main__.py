"""`scripts/simulate`. Exit status: 0 all is right, 1 a fault, 2 wrong usage."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from scripts.simulation.mutants import ALL
from scripts.simulation.mutation import mutate

if TYPE_CHECKING:  # what is mutated must not be imported before it is
    from scripts.simulation.campaign import Tally
    from scripts.simulation.trial import Verdict

TOLD_EVERY_S = 2.0


class _Indexes(click.ParamType[tuple[int, ...]]):
    name = "INDEXES"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, ...]:
        try:
            return tuple(int(one) for one in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of indexes such as 0,3,5", param, ctx)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seeds", type=click.IntRange(1), default=1000, show_default=True, help="How many.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="The first of them.")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Processes.  [default: one a core]")
@click.option("--stop", is_flag=True, help="Stop at the first seed that fails.")
@click.option("--seed", type=click.IntRange(0), help="Run this one only, and tell what happens in it.")
@click.option("--only", type=_Indexes(), help="With --seed: with these items of its plan only, as 0,3,5.")
@click.option("--mutant", type=click.Choice(sorted(ALL)), help="With a safeguard taken away; see scripts/mutants.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def main(
    seeds: int,
    first: int,
    jobs: int,
    stop: bool,
    seed: int | None,
    only: tuple[int, ...] | None,
    mutant: str | None,
    as_json: bool,
) -> None:
    """Runs the whole mesh in one process, on networks, disks and a broker that fail as the seed says; then mends
    everything, and reads the books. A seed that fails is made smaller, and can be had again with --seed."""
    _hash_alike()
    if only is not None and seed is None:
        raise click.UsageError("--only belongs to --seed: it names items of one plan")
    if mutant:
        mutate(ALL[mutant])
        jobs = 1  # the mutant is in this process only
    again = f"scripts/simulate{f' --mutant {mutant!r}' if mutant else ''} --seed"
    if seed is not None:
        sys.exit(_one(seed, only, as_json))
    sys.exit(_many(range(first, first + seeds), jobs, stop, as_json, again))


def _hash_alike() -> None:
    """Sets of texts have an order, which a process draws by chance: all processes shall draw the same one."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"})


def _one(seed: int, only: tuple[int, ...] | None, as_json: bool) -> int:
    from scripts.simulation.drawing import draw
    from scripts.simulation.trial import run

    plan = draw(seed)
    if only is not None:
        if not set(only) <= set(range(len(plan.items))):
            raise click.UsageError(f"the plan of seed {seed} has the items 0 to {len(plan.items) - 1}")
        plan = plan.only(only)
    verdict = run(plan)
    if as_json:
        print(json.dumps(verdict.to_json(), indent=2))
    else:
        print("\n".join([plan.text(), *verdict.log, *_told(verdict)]))
    return 1 if verdict.faults else 0


def _many(seeds: range, jobs: int, stop: bool, as_json: bool, again: str) -> int:
    from scripts.simulation.campaign import run_all

    last_told = time.perf_counter()

    def told(tally: Tally) -> bool:
        nonlocal last_told
        if (now := time.perf_counter()) - last_told >= TOLD_EVERY_S:
            last_told = now
            print(_progress(tally, len(seeds)), file=sys.stderr, flush=True)
        return not (stop and tally.failed)

    tally = run_all(seeds, jobs, told)
    print(json.dumps(tally.to_json(), indent=2) if as_json else _summary(tally))
    if tally.failed and not as_json:
        print(_smaller(min(tally.failed), again), file=sys.stderr)
    return 1 if tally.failed else 0


def _progress(tally: Tally, of: int) -> str:
    failed = f", {len(tally.failed)} failed: {sorted(tally.failed)[:5]}" if tally.failed else ", none failed"
    return f"{tally.seeds:,} of {of:,} seeds, {tally.rate:.1f} a second{failed}"


def _summary(tally: Tally) -> str:
    lines = [
        _progress(tally, tally.seeds),
        f"orders: {_counts(tally.endings)}",
        f"what went wrong: {_counts(tally.happened)}",
        f"what came of it: {_counts(tally.harm)}",
        f"{tally.virtual_s / 3600:.1f} hours of virtual time in {tally.seconds:.0f} s",
    ]
    for seed, faults_of in sorted(tally.failed.items())[:10]:
        lines += [f"seed {seed} FAILED:", *(f"  {fault}" for fault in faults_of[:5])]
    return "\n".join(lines)


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items())) or "none"


def _smaller(seed: int, again: str) -> str:
    """A failing seed, as small as it goes, and how to have it again."""
    from scripts.simulation.drawing import draw
    from scripts.simulation.shrinking import shrink
    from scripts.simulation.trial import run

    plan = draw(seed)
    kept = shrink(len(plan.items), lambda indexes: bool(run(plan.only(indexes)).faults))
    command = f"{again} {seed} --only {','.join(map(str, kept))}" if kept else f"{again} {seed}"
    verdict = run(plan.only(kept)) if kept else run(plan)
    return "\n".join([f"seed {seed}, made smaller ({command}):", verdict.plan.text(), *_told(verdict)])


def _told(verdict: Verdict) -> list[str]:
    lines = [f"orders: {_counts(verdict.endings)}; {verdict.virtual_s:.1f} s of virtual time; trace {verdict.trace}"]
    return lines + [f"FAULT: {fault}" for fault in verdict.faults]


if __name__ == "__main__":
    main(prog_name="scripts/simulate")
