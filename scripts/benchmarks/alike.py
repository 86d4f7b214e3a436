"""Whether two streams carry the same: what a floor has to do, or it is none."""

from __future__ import annotations

from collections.abc import Mapping

from nats.js import JetStreamContext

# How often each event came, and the last one's body; by the event's full name.
Carried = Mapping[str, tuple[int, bytes]]


class Unlike(Exception):
    """Two subjects did not publish the same, so their figures cannot be compared."""


async def carried(jetstream: JetStreamContext, stream: str, prefix: str) -> Carried:
    """What a stream holds, of events whose subjects are their full names after the prefix."""
    state = (await jetstream.stream_info(stream, subjects_filter=">")).state
    return {
        subject.removeprefix(prefix): (count, (await jetstream.get_last_msg(stream, subject)).data or b"")
        for subject, count in (state.subjects or {}).items()
    }


def check_alike(one: Carried, other: Carried) -> None:
    """Raises Unlike, which names the events."""
    events = sorted(event for event in one.keys() | other.keys() if one.get(event) != other.get(event))
    if events:
        raise Unlike(f"floor and choreography differ in {', '.join(events)}")
