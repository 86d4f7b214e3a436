"""`ensemble graph`, `audit`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from console.commands.common import Failed, data_option, database_option, json_option, settings_for


@click.command()
@click.option(
    "--format", "format_", type=click.Choice(["text", "mermaid", "dot", "json"]), default="text", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def graph(format_: str, as_json: bool) -> None:
    """Draw the choreography from the contracts."""
    from console.graph import FORMATS
    from mesh.contract import Contract
    from mesh.contract_faults import ContractError
    from mesh.registry import UnknownName

    try:
        contract = Contract.of_packages(*settings_for(Path()).contract_packages)
    except (ContractError, UnknownName, ValueError) as error:
        raise Failed(" ".join(str(error).split())) from None
    print(FORMATS["json" if as_json else format_](contract))


@click.command()
@data_option
@database_option
@json_option
def audit(data: Path, database_url: str, as_json: bool) -> None:
    """Check the books of all services; exit 1 on a fault. What is in flight is listed apart, not judged."""
    from console import audit as books_of
    from console import display

    try:
        books = books_of.audit(settings_for(data, database_url=database_url))
    except books_of.NoBooks as error:
        raise Failed(str(error)) from None
    if as_json:
        print(json.dumps(books.to_json()))
    else:
        display.show_books(books)
    sys.exit(1 if books.faults else 0)
