"""Ids of deliberate replays.

A replay (healing, hand-over, a dead letter put back) must not be swallowed by the broker's dedupe window as an
accident, so it has an id, which is copied to all that it triggers. Joins and ledgers keep the newest, so ids have to
be ordered by time: they are UUIDv7 (RFC 9562).
"""

from __future__ import annotations

import hashlib
import uuid

import uuid_utils


def mint() -> str:
    """The id of a replay that begins now."""
    return str(uuid_utils.uuid7())


def ordered(given: str, stored_us: int) -> str:
    """An id that came from outside, as one that is ordered by time.

    One that is a UUIDv7 is taken as it is. Of any other one is made from it and from when its message was stored, in
    microseconds since the epoch: the same for every delivery of the message.
    """
    if not given or _is_ordered(given):
        return given
    text = hashlib.sha256(given.encode()).digest()
    value = int.from_bytes((stored_us // 1000).to_bytes(6, "big") + text[:10], "big")
    value = value & ~(0xF << 76) | (7 << 76)
    return str(uuid.UUID(int=value & ~(0x3 << 62) | (0x2 << 62)))


def _is_ordered(given: str) -> bool:
    try:
        return str(uuid.UUID(given)) == given and uuid.UUID(given).version == 7
    except ValueError:
        return False
