"""What all commands share: their options, and how what goes wrong is told. Exit status 1: failed, 2: wrong usage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
import grpc.aio

from mesh.addresses import UnknownAddress
from mesh.settings import Settings, WrongSetting, load_settings

T = TypeVar("T")

STYLES = ("orchestrated", "choreographed", "hybrid")

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="ENSEMBLE_DATA",
    default=Path(".ensemble"),
    show_default=True,
    help="Folder of the mesh (also ENSEMBLE_DATA).",
)
database_option = click.option(
    "--database",
    "database_url",
    metavar="URL",
    envvar="ENSEMBLE_DATABASE_URL",
    default="",
    help="PostgreSQL of the mesh, postgresql://… (also ENSEMBLE_DATABASE_URL); without it, SQLite files.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Failed(click.ClickException):
    """A command that failed: one line, exit status 1."""


class WrongUsage(click.ClickException):
    """A command that was told what cannot be: one line, exit status 2."""

    exit_code = 2


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a command; what may go wrong becomes one line that says what to do."""
    try:
        return asyncio.run(main())
    except grpc.aio.AioRpcError as error:
        raise Failed(_explain(error)) from None
    except (UnknownAddress, OSError) as error:
        raise Failed(" ".join(str(error).split())) from None


def _explain(error: grpc.aio.AioRpcError) -> str:
    from mesh.errors import STATUS_DETAILS_KEY

    # A part of the mesh that says UNAVAILABLE says why; the details are missing where nobody answered.
    answered = any(key == STATUS_DETAILS_KEY for key, _ in error.trailing_metadata() or ())
    if error.code() is grpc.StatusCode.UNAVAILABLE and not answered:
        return "the service cannot be reached; `ensemble status` shows what runs"
    return f"{error.code().name}: {error.details()}"


def settings_for(data: Path, **given: Any) -> Settings:
    """The settings of the mesh in a folder, and over them those that are given."""
    try:
        return load_settings(data=data, **given)
    except WrongSetting as error:
        raise click.UsageError(str(error)) from None


def say(line: str) -> None:
    """Prints a line at once, also into a pipe."""
    print(line, flush=True)
