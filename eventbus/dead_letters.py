"""Where messages go that nobody could handle: the stream DEAD_LETTERS, with the reason in the headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from eventbus.bus import EventBus
from eventbus.envelope import MESSAGE_ID, REPLAY, header, microseconds

REASON = "ensemble-reason"
MESSAGE = "ensemble-message"
DELIVERIES = "ensemble-deliveries"
SEQUENCE = "ensemble-stream-sequence"
STORED = "ensemble-stored-us"
STYLE = "ensemble-style"

# Headers count towards the size of a message.
MESSAGE_CHARACTERS_MAX = 1000


@dataclass(frozen=True)
class DeadLetter:
    """A message that one service could not handle, and why."""

    service: str
    event: str
    style: str
    body: bytes
    reason: str
    message: str
    deliveries: int
    sequence: int  # in the EVENTS stream
    stored_us: int  # when that stream stored it, in microseconds since the epoch
    replay: str
    id: int = 0  # its own sequence in DEAD_LETTERS, for people to name it by; 0: not stored yet
    died_us: int = 0  # when DEAD_LETTERS stored it, in microseconds since the epoch

    @classmethod
    def read(
        cls, subject: str, body: bytes, headers: Mapping[str, object] | None, *, id: int, died: datetime | None
    ) -> DeadLetter:
        """A dead letter as it lies in the stream; what its headers do not say is empty or 0."""
        _, service, event = (*subject.split(".", 2), "")[:3]  # anybody may have published `dead.x`
        return cls(
            id=id,
            died_us=microseconds(died),
            service=service,
            event=event,
            style=header(headers, STYLE),
            body=body,
            reason=header(headers, REASON),
            message=header(headers, MESSAGE),
            deliveries=_number(header(headers, DELIVERIES)),
            sequence=_number(header(headers, SEQUENCE)),
            stored_us=_number(header(headers, STORED)),
            replay=header(headers, REPLAY),
        )

    @property
    def subject(self) -> str:
        """Where it is kept."""
        return f"dead.{self.service}.{self.event}"

    def headers(self) -> dict[str, str]:
        """What is said of it. Header values are one line of ASCII: NATS mangles all else."""
        headers = {
            # The sequence alone is not enough: a stream that was made anew counts from one again.
            MESSAGE_ID: f"dead:{self.service}:{self.sequence}:{self.stored_us}",
            REASON: _one_line(self.reason),
            MESSAGE: _one_line(self.message),
            DELIVERIES: str(self.deliveries),
            SEQUENCE: str(self.sequence),
            STORED: str(self.stored_us),
            STYLE: self.style,
        }
        if self.replay:
            headers[REPLAY] = self.replay
        return headers


async def publish(bus: EventBus, letter: DeadLetter) -> None:
    """Stores a dead letter, once for each service and message; raises Unpublished."""
    await bus.publish_raw(letter.subject, letter.body, letter.headers())


def _number(text: str) -> int:
    """A header's number. One that anybody wrote by hand must not keep the letter from being read."""
    return int(text) if text.isascii() and text.isdigit() else 0


def _one_line(text: str) -> str:
    plain = " ".join(text.split()).encode("ascii", "backslashreplace").decode()
    return plain[:MESSAGE_CHARACTERS_MAX]
