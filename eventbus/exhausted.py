"""Makes dead letters of messages whose handlers died before they could answer.

The broker delivers such a message `deliveries_max` times and then no more, silently: it says so in an advisory, which
as a core NATS message is lost where nobody listens. Those who would listen are just the ones that die. So the stream
EXHAUSTED keeps the advisories, and any replica reads them, whenever one lives:

    advisory read ── message fetched from EVENTS ── dead letter stored ── advisory acknowledged

A crash at any point leaves the advisory unread; a dead letter that is written twice within the dedupe window is stored
once. A message that is not there any more (purged, too old) is told in the log: there is nothing left to keep.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime

from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from eventbus import dead_letters
from eventbus.bus import EventBus
from eventbus.dead_letters import DeadLetter
from eventbus.envelope import REPLAY, header, microseconds, parse_subject
from eventbus.reader import Reader
from eventbus.streams import EVENTS, EXHAUSTED, exhausted_subject
from mesh.settings import Settings

log = logging.getLogger(__name__)

REASON = "MAX_DELIVERIES"


class ExhaustedReader:
    """Reads the advisories about one service's consumer; replicas share it."""

    def __init__(self, bus: EventBus, service: str, settings: Settings) -> None:
        self._bus = bus
        self._service = service
        subjects = [exhausted_subject(service)]
        self._reader = Reader(bus, EXHAUSTED, service, subjects, self._read, settings.ack_wait_s)

    async def run(self) -> None:
        """Reads until it is cancelled."""
        await self._reader.run()

    async def _read(self, advisory: Msg) -> None:
        try:
            sequence, deliveries = _said(advisory.data)
        except (ValueError, TypeError, KeyError):  # anybody may have published it
            log.error("what %s says is no advisory of the broker; passed over", advisory.subject)
            return
        raw = await self._find(sequence, advisory.metadata.timestamp)
        if raw is None:
            log.error("message %d was delivered %d times, never answered, and is gone", sequence, deliveries)
            return
        letter = self._letter_of(raw, sequence, deliveries)
        await dead_letters.publish(self._bus, letter)
        log.error("%s is a dead letter after %d deliveries: %s", letter.event, deliveries, letter.message)

    async def _find(self, sequence: int, said_at: datetime) -> RawStreamMsg | None:
        """The message that an advisory is about; a stream that was made anew counts from one again."""
        try:
            raw = await self._bus.jetstream.get_msg(EVENTS, sequence)
        except NotFoundError:
            return None
        return raw if raw.time is not None and raw.time <= said_at else None

    def _letter_of(self, raw: RawStreamMsg, sequence: int, deliveries: int) -> DeadLetter:
        style, event = parse_subject(raw.subject or "")
        return DeadLetter(
            service=self._service,
            event=event,
            style=style,
            body=raw.data or b"",
            reason=REASON,
            message="no handler lived to answer it",
            deliveries=deliveries,
            sequence=sequence,
            stored_us=microseconds(raw.time),
            replay=header(raw.headers, REPLAY),
        )


def _said(data: bytes) -> tuple[int, int]:
    """The message of an advisory, and how often it was delivered."""
    said = json.loads(data)
    sequence, deliveries = int(said["stream_seq"]), int(said["deliveries"])
    if not 0 < sequence < 2**63:
        raise ValueError("no stream has such a message")
    return sequence, deliveries
