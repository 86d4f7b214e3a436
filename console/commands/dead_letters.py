"""`ensemble dead-letters …`."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from console.commands.common import Failed, data_option, json_option, run, settings_for

if TYPE_CHECKING:
    from eventbus.letter_box import Filter, LetterBox

T = TypeVar("T")

LIMIT_DEFAULT = 50

# Tokens of NATS subjects; a wildcard would be taken for one.
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")

letter_id = click.IntRange(1, 2**63 - 1)


def _name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if value and not _NAME.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no name; it takes letters, digits, `-`, `_`, and dots between them")
    return value


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which letters."""
    for option in (
        click.option("--saga", "saga_id", default="", callback=_name, help="Only of this saga."),
        click.option("--event", default="", callback=_name, help="Only this event: its full name, or its last part."),
        click.option("--service", default="", callback=_name, help="Only what this service could not handle."),
    ):
        command = option(command)
    return command


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at the events that a service could not handle, and put them back."""


@dead_letters.command("list")
@data_option
@json_option
@filters
@click.option("--after", type=click.IntRange(0, 2**63 - 1), default=0, help="Go on behind this id.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=LIMIT_DEFAULT, show_default=True, help="At most so many."
)
def list_(data: Path, as_json: bool, after: int, limit: int, **which: str) -> None:
    """List dead letters, the oldest first."""
    from console import dead_letters

    _run(data, lambda box: dead_letters.list_letters(box, _filter(which), after, limit, as_json=as_json))


@dead_letters.command()
@data_option
@json_option
@click.argument("id", type=letter_id)
def show(data: Path, as_json: bool, id: int) -> None:
    """Show one dead letter: the message, why it died, and how often it was tried."""
    from console import dead_letters

    _run(data, lambda box: dead_letters.show(box, id, as_json=as_json))


@dead_letters.command()
@data_option
@json_option
@filters
@click.argument("ids", type=letter_id, nargs=-1)
@click.option("--all", "all_", is_flag=True, help="All there are now, or all that --service, --event and --saga leave.")
@click.option("--force", is_flag=True, help="Also messages that are no such event, or break its contract.")
def replay(data: Path, as_json: bool, ids: tuple[int, ...], all_: bool, force: bool, **which: str) -> None:
    """Put dead letters back, once: their events are published again, and the letters are gone.

    Exit status 1 where one of them could not be put back.
    """
    from console import dead_letters

    if bool(ids) == all_:
        raise click.UsageError(
            "name the dead letters by their ids, or say --all; `ensemble dead-letters list` shows them"
        )
    if ids and any(which.values()):
        raise click.UsageError("--service, --event and --saga go with --all, not with ids")

    def go(box: LetterBox) -> Awaitable[bool]:
        letters = box.find(_filter(which)) if all_ else dead_letters.by_id(box, tuple(dict.fromkeys(ids)))
        return dead_letters.replay(box, letters, force=force, as_json=as_json)

    if not _run(data, go):
        sys.exit(1)


def _filter(which: dict[str, str]) -> Filter:
    from eventbus.letter_box import Filter

    return Filter(**which)


def _run(data: Path, work: Callable[[LetterBox], Awaitable[T]]) -> T:
    from console import broker
    from eventbus.letter_box import LetterBox, NoLetter

    async def go() -> T:
        async with broker.connected(settings_for(data)) as bus:
            return await work(LetterBox(bus))

    try:
        return run(go)
    except NoLetter as error:
        raise Failed(str(error)) from None
