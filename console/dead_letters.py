"""`ensemble dead-letters …`: what nobody could handle, shown and put back. Straight from the broker: no part of the
mesh has to live for it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from google.protobuf import json_format

from console.display import console
from eventbus.dead_letters import DeadLetter
from eventbus.letter_box import Filter, LetterBox, NoLetter, Unreadable, read, saga_of
from mesh import registry, validation
from mesh.errors import Invalid

HEX_BYTES_SHOWN_MAX = 256


async def list_letters(box: LetterBox, which: Filter, after: int, limit: int, *, as_json: bool) -> None:
    """Prints a page of letters, the oldest first."""
    found = [letter async for letter in _first(box.find(which, after), limit + 1)]
    page, more = found[:limit], len(found) > limit
    if as_json:
        following = page[-1].id if more else None
        print(json.dumps({"dead_letters": [_head(letter) for letter in page], "next_after": following}), flush=True)
        return
    for letter in page:
        saga = saga_of(letter) or "no saga"
        line = f"{letter.id:>6}  {_time(letter.died_us)}  {letter.service:<13}  {letter.event}  {saga}  {letter.reason}"
        console.print(f"{line}: {letter.message}", markup=False)
    if more:
        console.print(f"more: --after {page[-1].id}", markup=False)


async def show(box: LetterBox, id: int, *, as_json: bool) -> None:
    """Prints one letter with its message; raises NoLetter."""
    letter = await box.get(id)
    message, fault = _message(letter), _fault(letter)
    if as_json:
        shown = {"body": message} if message is not None else {"bytes": letter.body.hex()}
        print(json.dumps({**_head(letter), **shown, "fault": fault}), flush=True)
        return
    lines = {
        "service": letter.service,
        "event": f"{letter.event}, {letter.style}, number {letter.sequence} in EVENTS, {_time(letter.stored_us)}",
        "saga": saga_of(letter) or "none that can be read",
        "died": _time(letter.died_us),
        "reason": f"{letter.reason}: {letter.message}",
        "tries": letter.deliveries,
        **({"replay": letter.replay} if letter.replay else {}),
        **({"fault": fault} if fault else {}),
        "message": _hex(letter.body) if message is None else json.dumps(message, indent=2),
    }
    console.print(f"dead letter {letter.id}", markup=False)
    for name, value in lines.items():
        console.print(f"  {name + ':':<9}{value}", markup=False)


async def replay(box: LetterBox, letters: AsyncIterator[DeadLetter | NoLetter], *, force: bool, as_json: bool) -> bool:
    """Puts letters back and prints what became of each; whether all of them are put back."""
    put_back: list[int] = []
    left: dict[int, str] = {}
    async for letter in letters:
        try:
            if isinstance(letter, NoLetter):
                raise letter
            was_there = await box.put_back(letter, unread=force)
        except NoLetter as error:
            left[letter.id] = str(error)
        except Unreadable as error:
            left[letter.id] = f"{letter.id} would come back as it is ({error}); --force puts it back all the same"
        else:
            put_back.append(letter.id)
            if not as_json:
                by_whom = "" if was_there else ", by somebody else at the same time"
                console.print(f"{letter.id} is put back: {letter.event} for {letter.service}{by_whom}", markup=False)
    if as_json:
        print(
            json.dumps({"put_back": put_back, "left": [{"id": i, "why": why} for i, why in left.items()]}), flush=True
        )
        return not left
    for why in left.values():
        console.print(f"not put back: {why}", markup=False)
    if not put_back and not left:
        console.print("no dead letters", markup=False)
    return not left


async def by_id(box: LetterBox, ids: tuple[int, ...]) -> AsyncIterator[DeadLetter | NoLetter]:
    """The letters of these ids, or why there is none."""
    for id in ids:
        try:
            yield await box.get(id)
        except NoLetter as error:
            yield error


async def _first(letters: AsyncIterator[DeadLetter], count: int) -> AsyncIterator[DeadLetter]:
    async for letter in letters:
        yield letter
        count -= 1
        if not count:
            return


def _head(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "service": letter.service,
        "event": letter.event,
        "style": letter.style,
        "saga_id": saga_of(letter),
        "reason": letter.reason,
        "message": letter.message,
        "deliveries": letter.deliveries,
        "sequence": letter.sequence,
        "replay": letter.replay,
        "stored": _time(letter.stored_us),
        "died": _time(letter.died_us),
    }


def _message(letter: DeadLetter) -> dict[str, Any] | None:
    """The message as JSON has it; None where the bytes are none. It may break the rules of its contract."""
    try:
        message = validation.parse(registry.message_class(letter.event), letter.body)
        return json_format.MessageToDict(message, preserving_proto_field_name=True)
    except (Invalid, registry.UnknownName, json_format.SerializeToJsonError, TypeError):
        return None


def _fault(letter: DeadLetter) -> str:
    try:
        read(letter)
    except Unreadable as error:
        return str(error)
    return ""


def _hex(body: bytes) -> str:
    more = f" … ({len(body)} bytes in all; --json shows them)" if len(body) > HEX_BYTES_SHOWN_MAX else ""
    return f"bytes {body[:HEX_BYTES_SHOWN_MAX].hex(' ')}{more}" if body else "no bytes"


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if us else "unknown"
