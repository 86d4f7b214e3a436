"""`scripts/faults`. Exit status: 0 all held, 1 one did not or none could be done, 2 wrong usage."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import click

from mesh import lifecycle, machine
from scripts.faulting.catalogue import FAULTS
from scripts.faulting.report import markdown
from scripts.faulting.result import FAILED, NOT_POSSIBLE, Result
from scripts.faulting.run import run


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[NAME ...]", type=click.Choice(list(FAULTS)))
@click.option("--list", "listing", is_flag=True, help="The faults by name, and what each does.")
@click.option("--orders", type=click.IntRange(20), default=500, show_default=True, help="How many, for each fault.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is chosen at random.")
@click.option("--data", type=click.Path(path_type=Path), help="Where all meshes stay; else only those that failed do.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write a report there, as Markdown.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def main(
    names: tuple[str, ...], listing: bool, orders: int, seed: int, data: Path | None, report: Path | None, as_json: bool
) -> None:
    """Does faults to meshes of its own while orders come, and audits what becomes of these. Without names: all."""
    if listing:
        for fault in FAULTS.values():
            print(f"{fault.name:<16} {fault.does}")
        return
    if report is not None and not report.parent.is_dir():
        raise click.UsageError(f"--report {report}: there is no folder {report.parent}")
    # A SIGTERM ends it as Ctrl-C does, so that the mesh is stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    results = []
    for name in names or FAULTS:
        print(f"{name} …", file=sys.stderr, flush=True)
        results.append(_run(name, data, orders, seed))
        if not as_json:
            print(results[-1].text(), flush=True)
    where = machine.describe(data or Path(tempfile.gettempdir()))
    if as_json:
        print(json.dumps({"machine": where, "runs": [one.to_json() for one in results]}, indent=2))
    if report is not None:
        command = f"scripts/faults {' '.join([*names, f'--orders {orders} --seed {seed}'])}"
        report.write_text(markdown(results, where, command))
    verdicts = {one.verdict for one in results}
    sys.exit(1 if FAILED in verdicts or verdicts == {NOT_POSSIBLE} else 0)


def _run(name: str, data: Path | None, orders: int, seed: int) -> Result:
    if data is not None:
        folder = data / name
        if folder.exists():
            raise click.UsageError(f"{folder} is there already: name another folder with --data, or remove it")
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise click.UsageError(f"--data {data}: {error}") from None
    else:
        folder = Path(tempfile.mkdtemp(prefix=f"ensemble-{name}-"))
    try:
        with lifecycle.runner() as runner:
            result = runner.run(run(FAULTS[name](), folder, orders=orders, seed=seed))
    except BaseException:
        print(f"the databases and logs are in {folder}", file=sys.stderr)
        raise
    if data is None and not result.faults:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"the databases and logs are in {folder}", file=sys.stderr)
    return result


if __name__ == "__main__":
    main(prog_name="scripts/faults")
