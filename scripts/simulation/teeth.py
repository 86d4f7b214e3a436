"""`scripts/mutants`. Exit status: 0 each mutant is caught, 1 one is not, 2 wrong usage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import click

from scripts.simulation.mutants import ALL, MUTANTS, SETTLED
from scripts.simulation.mutation import ROOT, Mutant


@dataclass(frozen=True)
class Bite:
    """What the simulation made of a mutant."""

    mutant: Mutant
    seeds: int  # that were run
    seed: int | None  # the one that caught it
    faults: tuple[str, ...]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[MUTANT]...")
@click.option("--seeds", type=click.IntRange(1), default=1000, show_default=True, help="Each has so many to be caught.")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="At a time.  [default: one a core]")
@click.option("--list", "as_list", is_flag=True, help="Only say which there are.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def main(names: tuple[str, ...], seeds: int, jobs: int, as_list: bool, as_json: bool) -> None:
    """Takes one safeguard of the mesh away at a time, and shows which seed of the simulation notices."""
    if unknown := sorted(set(names) - set(ALL)):
        raise click.UsageError(f"there is no mutant {unknown[0]!r}; `scripts/mutants --list` says which there are")
    chosen = [ALL[name] for name in names or MUTANTS]
    if as_list:
        print("\n".join(f"{mutant.name}: without the rule that {mutant.without}" for mutant in chosen))
        print("\n".join(f"not run unless named, as no seed catches it: {name}: {why}" for name, why in SETTLED.items()))
        return
    bites = []
    for bite in _bites(chosen, seeds, jobs):
        bites.append(bite)
        print(_line(bite), file=sys.stderr if as_json else sys.stdout, flush=True)
    if as_json:
        print(json.dumps({one.mutant.name: {"seed": one.seed, "faults": one.faults} for one in bites}, indent=2))
    survivors = [bite.mutant.name for bite in bites if bite.seed is None]
    if not as_json:
        print(f"{len(bites) - len(survivors)} of {len(bites)} mutants are caught")
    sys.exit(1 if survivors else 0)


def _bites(mutants: list[Mutant], seeds: int, jobs: int) -> Iterator[Bite]:
    with ThreadPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(_hunt, mutant, seeds) for mutant in mutants]):
            yield done.result()


def _hunt(mutant: Mutant, seeds: int) -> Bite:
    """In a process of its own, since a mutant cannot be taken back."""
    command = [sys.executable, "-m", "scripts.simulation", "--mutant", mutant.name, "--seeds", str(seeds)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run([*command, "--stop", "--json"], cwd=ROOT, env=environment, capture_output=True, text=True)
    try:
        tally = json.loads(done.stdout)
    except ValueError:
        raise RuntimeError(f"the mutant {mutant.name} cannot be run: {done.stderr[-2000:]}") from None
    failed = {int(seed): faults for seed, faults in tally["failed"].items()}
    seed = min(failed, default=None)
    return Bite(mutant, tally["seeds"], seed, tuple(failed[seed]) if seed is not None else ())


def _line(bite: Bite) -> str:
    if bite.seed is None:
        return f"SURVIVES {bite.seeds:,} seeds: {bite.mutant.name} (without the rule that {bite.mutant.without})"
    return f"caught by seed {bite.seed:>4}: {bite.mutant.name}: {bite.faults[0][:160]}"


if __name__ == "__main__":
    main(prog_name="scripts/mutants")
