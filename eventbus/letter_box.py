"""Finds dead letters for people, and puts them back.

A letter is put back as the event that it was, for the one service that could not handle it. Others have handled it, or
have letters of their own; and if all got it, an event that nobody can handle would make more letters at every round.
It is put back once:

    letter found ── published with the letter's own replay id ── stored by the broker ── letter removed

The replay id is made from the letter, so whoever publishes it again publishes the same message. In between:
- the process dies after the publication: the letter is still there and may be put back again, which the broker
  swallows within its dedupe window, and the ledgers after it;
- two people put it back at once: the broker stores one of the two messages, and one of them finds the letter gone.
A message that fails again becomes a new letter.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from google.protobuf.message import Message
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NotFoundError

from eventbus.bus import EventBus
from eventbus.dead_letters import DeadLetter
from eventbus.envelope import CHOREOGRAPHED, ORCHESTRATED, Envelope
from eventbus.replay import ordered
from eventbus.streams import DEAD_LETTERS
from mesh import identity, registry, validation
from mesh.errors import Invalid

PUT_BACK = "dead-letters.replay"  # in the place of the emitting method


class NoLetter(LookupError):
    """There is no such dead letter."""

    def __init__(self, id: int) -> None:
        self.id = id
        super().__init__(
            f"no dead letter {id}: it was put back, or is too old; `ensemble dead-letters list` shows what there is"
        )


class Unreadable(ValueError):
    """The message is none that its consumers could handle, whatever is mended; the text says why."""


@dataclass(frozen=True)
class Filter:
    """Which letters; empty: all."""

    service: str = ""
    event: str = ""  # full name, or its last part
    saga_id: str = ""

    def takes(self, letter: DeadLetter) -> bool:
        """Whether a letter is one of them. One that cannot be read belongs to no saga."""
        if self.event and self.event not in (letter.event, letter.event.rpartition(".")[2]):
            return False
        return not self.saga_id or self.saga_id == saga_of(letter)

    @property
    def subject(self) -> str:
        """As much of it as the broker filters."""
        return f"dead.{self.service or '*'}.>"


class LetterBox:
    """The stream DEAD_LETTERS, letter by letter; a request to the broker for each."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    async def get(self, id: int) -> DeadLetter:
        """One letter; raises NoLetter."""
        try:
            return _letter(await self._bus.jetstream.get_msg(DEAD_LETTERS, id))
        except NotFoundError:
            raise NoLetter(id) from None

    async def find(self, which: Filter, after: int = 0) -> AsyncIterator[DeadLetter]:
        """Letters behind the one with the id `after`, the oldest first; none that come while this is under way."""
        last = (await self._bus.jetstream.stream_info(DEAD_LETTERS)).state.last_seq
        while after < last:
            try:
                raw = await self._bus.jetstream.get_msg(DEAD_LETTERS, after + 1, subject=which.subject, next=True)
            except NotFoundError:
                return
            letter = _letter(raw)
            after = letter.id
            if after <= last and which.takes(letter):
                yield letter

    async def put_back(self, letter: DeadLetter, *, unread: bool = False) -> bool:
        """Publishes a letter as an event again and removes it; whether it was still there to be removed.

        Raises Unreadable for a message that would come back as it is, unless it shall be put back `unread`, and
        Unpublished, after which the letter is still there.
        """
        try:
            saga_id = identity.saga_id(read(letter))
        except Unreadable:
            if not unread:
                raise
            saga_id = ""
        if letter.style not in (CHOREOGRAPHED, ORCHESTRATED):
            raise Unreadable(f"its header says no style of an event, but {letter.style!r}")
        event = Envelope(
            event=letter.event,
            body=letter.body,
            saga_id=saga_id,
            method=PUT_BACK,
            step_key="",
            style=letter.style,
            replay=replay_id(letter),
            source="console",
            only_for=letter.service,
        )
        await self._bus.publish(event)
        return await self._remove(letter)

    async def _remove(self, letter: DeadLetter) -> bool:
        try:
            await self._bus.jetstream.delete_msg(DEAD_LETTERS, letter.id)
        except APIError:
            # The broker has several errors for a message that is not there, and one of them is for other faults too.
            if await self._is_there(letter.id):
                raise
            return False
        return True

    async def _is_there(self, id: int) -> bool:
        try:
            await self._bus.jetstream.get_msg(DEAD_LETTERS, id)
        except NotFoundError:
            return False
        return True


def read(letter: DeadLetter) -> Message:
    """The message of a letter; raises Unreadable where it is none that keeps the rules of its contract."""
    try:
        message = validation.parse(registry.message_class(letter.event), letter.body)
        validation.validate(message)
        identity.saga_id(message)
    except (Invalid, registry.UnknownName, identity.NoSagaId) as error:
        raise Unreadable(" ".join(str(error).split())) from None
    return message


def saga_of(letter: DeadLetter) -> str:
    """The saga that a letter belongs to; empty where the message does not say."""
    try:
        return identity.saga_id(read(letter))
    except Unreadable:
        return ""


def replay_id(letter: DeadLetter) -> str:
    """The id of the replay that puts a letter back: always the same, and as old as the letter."""
    return ordered(f"dead:{letter.service}:{letter.sequence}:{letter.id}", letter.died_us)


def _letter(raw: RawStreamMsg) -> DeadLetter:
    return DeadLetter.read(raw.subject or "", raw.data or b"", raw.headers, id=raw.seq or 0, died=raw.time)
