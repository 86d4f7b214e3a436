"""`ensemble compare`."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import click
import grpc.aio

from console.commands.common import Failed, json_option, settings_for


@click.command()
@click.option("--quick", is_flag=True, help="Ends within two minutes; its figures say less.")
@click.option(
    "--fault",
    "names",
    metavar="NAME",
    multiple=True,
    help="Only this one, or none; may be given more than once. By default all.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Also write a report with plots to this file, which needs nothing else.",
)
@json_option
def compare(quick: bool, names: tuple[str, ...], html: Path | None, as_json: bool) -> None:
    """Measure the same orders in each style, side by side, healthy and under faults.

    Starts a mesh of its own in a temporary folder, and ends it. Takes about four minutes; exit 1 where an order did not
    end or the books are wrong.
    """
    from console import control, display
    from console.comparison import measuring, report, table
    from console.comparison.faults import FAULTS

    _only_its_own_mesh()
    if html is not None and not html.absolute().parent.is_dir():
        raise click.UsageError(f"--html {html}: there is no folder {html.absolute().parent}; make it first")
    known = {fault.name: fault for fault in FAULTS}
    for name in names:
        if name not in (*known, "none"):
            raise click.UsageError(f"--fault {name}: it takes one of {', '.join(known)}, none")
    faults = [fault for name, fault in known.items() if not names or name in names]
    plan = measuring.QUICK if quick else measuring.FULL

    def say(line: str) -> None:
        print(f"compare: {line}", file=sys.stderr, flush=True)

    # A SIGTERM ends it as Ctrl-C does, so that the mesh is stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        comparison = measuring.compare(plan, faults, say)
    except (control.StartFailed, OSError) as error:  # also TimeoutError: the mesh does not recover
        raise Failed(" ".join(str(error).split())) from None
    except grpc.aio.AioRpcError as error:
        raise Failed(f"the mesh answered {error.code().name}: {error.details()}") from None
    if html is not None:
        html.write_text(report.page(comparison), encoding="utf-8")
        say(f"the report is in {html}")
    if as_json:
        print(json.dumps(comparison.to_json()))
    else:
        display.console.print(table.show(comparison))
    sys.exit(0 if comparison.good else 1)


def _only_its_own_mesh() -> None:
    """Raises UsageError where settings name parts that run elsewhere: those must be neither filled nor killed."""
    settings = settings_for(Path())
    for name in ("nats_url", "database_url", "addresses"):
        if getattr(settings, name):
            raise click.UsageError(
                f"ENSEMBLE_{name.upper()} is set, but what is compared is a mesh of its own, whose parts are killed: "
                f"unset it, as in `env -u ENSEMBLE_{name.upper()} ensemble compare`"
            )
