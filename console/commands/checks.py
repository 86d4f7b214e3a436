"""`ensemble graph`, `verify`, `audit`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import click

from console.commands.common import Failed, WrongUsage, data_option, database_option, json_option, settings_for
from console.commands.duration import duration

descriptors_option = click.option(
    "--descriptors",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A descriptor set, as protoc or `buf build` writes it, in the place of the mesh's own contracts.",
)


@click.command()
@click.option(
    "--format", "format_", type=click.Choice(["text", "mermaid", "dot", "json"]), default="text", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@descriptors_option
def graph(format_: str, as_json: bool, descriptors: Path | None) -> None:
    """Draw the choreography from the contracts."""
    from console.graph import draw
    from console.verification import read
    from mesh.contract_faults import refuse

    with _contract_errors():
        source = read(settings_for(Path()).contract_packages, descriptors, refuse)
        print(draw(source.contract, "json" if as_json else format_))


@click.command()
@descriptors_option
@json_option
def verify(descriptors: Path | None, as_json: bool) -> None:
    """Prove the contracts, before they run: a line for each fault; exit 1 on an error.

    Checked are events, requests, joins and circles, the theory of sagas, and whether each registered workflow does the
    same as its choreography on every path.
    """
    from console.verification import verify

    with _contract_errors():
        found = verify(settings_for(Path()).contract_packages, descriptors)
    if as_json:
        print(json.dumps(found.to_json()))
    else:
        print("\n".join([*found.lines(), *found.summary()]))
    if found.without_lines:
        how = "run scripts/generate, or write FILE with --include_source_info"
        print(f"note: where lines are missing, the descriptors have no source info; {how}", file=sys.stderr)
    sys.exit(1 if found.errors else 0)


@contextmanager
def _contract_errors() -> Iterator[None]:
    """What keeps a contract from being read, as one line that says what to do."""
    from mesh.contract_faults import ContractError
    from mesh.descriptors import WrongDescriptors
    from mesh.identity import NoSagaId
    from mesh.registry import UnknownName

    try:
        yield
    except WrongDescriptors as error:
        raise WrongUsage(str(error)) from None
    except (ContractError, NoSagaId, UnknownName) as error:
        raise Failed(f"{' '.join(str(error).split())} (`ensemble verify` says all that is wrong)") from None


@click.command()
@data_option
@database_option
@click.option(
    "--settled-within",
    metavar="DURATION",
    callback=duration,
    help="Wait so long, at most, until nothing is under way: what still is then, is a fault. 0s where all has settled.",
)
@json_option
def audit(data: Path, database_url: str, settled_within: timedelta | None, as_json: bool) -> None:
    """Check the books of all services; exit 1 on a fault. What is in flight is listed apart, not judged."""
    from console import audit as books_of
    from console import display

    settings = settings_for(data, database_url=database_url)
    try:
        if settled_within is None:
            books = books_of.audit(settings)
        else:
            books = asyncio.run(books_of.settled(settings, settled_within.total_seconds()))
    except books_of.NoBooks as error:
        raise Failed(str(error)) from None
    if as_json:
        print(json.dumps(books.to_json()))
    else:
        display.show_books(books)
    sys.exit(1 if books.faults else 0)
