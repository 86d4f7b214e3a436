"""One stream: its messages in order, and the ids of those that came within the dedupe window.

In memory and on disk are the same here, but for what a power cut takes where the broker syncs later than it answers.
The ids are memory only: a broker that starts again reads them from the messages that it still has. So a purge does not
forget ids, and a purge followed by a restart does (nats-server 2.15, by test).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from eventbus.envelope import MESSAGE_ID, headers_size
from eventbus.testing.subjects import matches

if TYPE_CHECKING:
    from eventbus.testing.consumer import Consumer


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as the stream keeps it."""

    sequence: int
    subject: str
    headers: dict[str, str] | None
    body: bytes
    time_ns: int  # since the epoch


class Stream:
    """Messages under consecutive numbers, from 1."""

    def __init__(self, config: dict[str, Any], created_ns: int, now_ns: Callable[[], int]) -> None:
        self.config = config
        self.name: str = config["name"]
        self.created_ns = created_ns
        self.messages: dict[int, Stored] = {}
        self.last_sequence = 0
        self.last_time_ns = 0
        self.consumers: dict[str, Consumer] = {}
        self.dead = False  # the disk was full: nothing is stored any more, until the broker starts again
        self._first_ever = 0  # sequences below are purged
        self._ids: dict[str, tuple[int, int]] = {}  # when and as which sequence, the oldest first
        self._now_ns = now_ns

    @property
    def first_sequence(self) -> int:
        """Of the oldest message; last + 1 where there are none, and 0 where there never were any."""
        return next(iter(self.messages), self._first_ever)

    @property
    def window_ns(self) -> int:
        """How long ids are known."""
        return int(self.config["duplicate_window"])

    def takes(self, subject: str) -> bool:
        """Whether it keeps messages of a subject."""
        return any(matches(pattern, subject) for pattern in self.config["subjects"])

    def is_too_large(self, headers: dict[str, str] | None, body: bytes) -> bool:
        """Whether a message is larger than `max_msg_size`, headers included."""
        size = len(body) + (headers_size(headers) if headers else 0)
        most: int = self.config["max_msg_size"]
        return 0 <= most < size

    def duplicate_of(self, headers: dict[str, str] | None) -> int:
        """The sequence of the message that came under the same id within the window; 0: none."""
        now_ns = self._now_ns()
        while self._ids and next(iter(self._ids.values()))[0] <= now_ns - self.window_ns:
            del self._ids[next(iter(self._ids))]
        if not headers or MESSAGE_ID not in headers:
            return 0
        return self._ids.get(headers[MESSAGE_ID], (0, 0))[1]

    def store(self, subject: str, headers: dict[str, str] | None, body: bytes) -> Stored:
        """Keeps a message, and tells the consumers."""
        self.expire()
        self.last_sequence += 1
        self.last_time_ns = self._now_ns()
        stored = Stored(self.last_sequence, subject, headers, body, self.last_time_ns)
        self.messages[stored.sequence] = stored
        self._remember(stored)
        for consumer in self.consumers.values():
            consumer.stored(stored)
        return stored

    def from_sequence(self, sequence: int) -> Iterator[Stored]:
        """The messages from a sequence on, in order."""
        for number in range(max(sequence, self.first_sequence), self.last_sequence + 1):
            if (stored := self.messages.get(number)) is not None:
                yield stored

    def remove(self, sequence: int) -> None:
        """Deletes one message."""
        removed = self.messages.pop(sequence)
        if not self.messages:
            self._first_ever = self.last_sequence + 1
        for consumer in self.consumers.values():
            consumer.removed(removed)

    def purge(self) -> int:
        """Deletes all messages; how many there were. Their ids stay known."""
        purged = len(self.messages)
        self.messages.clear()
        self._first_ever = self.last_sequence + 1
        for consumer in self.consumers.values():
            consumer.purged()
        return purged

    def expire(self) -> None:
        """Deletes what is older than `max_age`."""
        age_ns = self.config["max_age"]
        if not age_ns or not self.messages:
            return
        oldest_ns = self._now_ns() - age_ns
        for old in list(takewhile(lambda stored: stored.time_ns <= oldest_ns, self.messages.values())):
            self.remove(old.sequence)

    def lose_since(self, synced_ns: int) -> None:
        """What a power cut does to what came after the last sync."""
        lost = [number for number, stored in self.messages.items() if stored.time_ns > synced_ns]
        for number in lost:
            del self.messages[number]
        if lost:
            self.last_sequence = lost[0] - 1
            self.last_time_ns = self.messages[self.last_sequence].time_ns if self.last_sequence in self.messages else 0

    def recover(self) -> None:
        """What a broker that starts again reads from its disk."""
        self.dead = False
        self._ids = {}
        for stored in self.messages.values():
            if stored.time_ns > self._now_ns() - self.window_ns:
                self._remember(stored)

    def _remember(self, stored: Stored) -> None:
        if stored.headers and MESSAGE_ID in stored.headers and self.window_ns:
            self._ids[stored.headers[MESSAGE_ID]] = (stored.time_ns, stored.sequence)
