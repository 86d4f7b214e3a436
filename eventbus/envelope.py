"""An event on its way: its subject, its message id and its headers.

The body is the protobuf message and nothing else; headers only add (CloudEvents 1.0 in binary mode, the trace, the
id of a deliberate replay). A message with no headers at all is as good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.message import Message

from mesh import identity, telemetry

CHOREOGRAPHED = "choreographed"
ORCHESTRATED = "orchestrated"

MESSAGE_ID = "Nats-Msg-Id"
REPLAY = "ensemble-replay"
ONLY_FOR = "ensemble-for"


@dataclass(frozen=True)
class Envelope:
    """One event, and the step that emits it."""

    event: str  # full name of the message
    body: bytes
    saga_id: str
    method: str  # full name of the method that emits it
    step_key: str
    style: str  # CHOREOGRAPHED or ORCHESTRATED
    replay: str  # id of a deliberate replay; empty: none
    source: str  # name of the service
    only_for: str = ""  # name of the one service that shall handle it; empty: all that subscribe to it

    @classmethod
    def starting(cls, event: Message, *, method: str, source: str, replay: str = "") -> Envelope:
        """The starting event of a choreography, published by a method that is no step of it."""
        return cls(
            event=event.DESCRIPTOR.full_name,
            body=event.SerializeToString(),
            saga_id=identity.saga_id(event),
            method=method,
            step_key="",
            style=CHOREOGRAPHED,
            replay=replay,
            source=source,
        )

    @property
    def subject(self) -> str:
        """Where it is published."""
        return subject(self.style, self.event)

    @property
    def message_id(self) -> str:
        """Equal for accidental repetitions only: the broker swallows those within its dedupe window.

        A deliberate replay has an id of its own, so that it is not swallowed.
        """
        parts = (self.saga_id, self.method, self.step_key, self.event, self.style)
        return ":".join((*parts, self.replay) if self.replay else parts)

    def headers(self) -> dict[str, str]:
        """What travels beside the body."""
        headers = {
            MESSAGE_ID: self.message_id,
            "ce-specversion": "1.0",
            "ce-id": self.message_id,
            "ce-type": self.event,
            "ce-source": f"/{self.source}",
            "ce-time": datetime.now(UTC).isoformat(),
            "ce-datacontenttype": "application/protobuf",
            telemetry.TRACEPARENT: telemetry.traceparent(self.saga_id),
        }
        if self.replay:
            headers[REPLAY] = self.replay
        if self.only_for:
            headers[ONLY_FOR] = self.only_for
        return headers


def subject(style: str, event: str) -> str:
    """The subject of an event in a style."""
    return f"events.{style}.{event}"


def parse_subject(subject_name: str) -> tuple[str, str]:
    """Style and full name of the event, from a subject of the EVENTS stream; what it does not say is empty."""
    _, style, event = (*subject_name.split(".", 2), "", "")[:3]  # anybody may have published `events.x`
    return style, event


def header(headers: Mapping[str, object] | None, name: str) -> str:
    """A header's value, or nothing. Non-ASCII values come back as objects: they are read as text."""
    value = (headers or {}).get(name)
    return "" if value is None else str(value)


def headers_size(headers: Mapping[str, str]) -> int:
    """How many bytes they take on the wire, where they count towards the size of their message."""
    lines = sum(len(name.encode()) + len(value.encode()) + len(": \r\n") for name, value in headers.items())
    return len("NATS/1.0\r\n") + lines + len("\r\n")


def microseconds(time: datetime | None) -> int:
    """Since the epoch; 0 where the broker did not say."""
    return int(time.timestamp() * 1_000_000) if time else 0
