"""What anybody may publish ends in a line, and not in trying for ever."""

from __future__ import annotations

from typing import Any, cast

import pytest

from eventbus.bus import EventBus
from eventbus.envelope import parse_subject
from eventbus.exhausted import ExhaustedReader
from mesh.settings import Settings


@pytest.mark.parametrize("subject", ["events", "events.x", "events.x.y.z"])
def test_any_subject_of_the_stream_can_be_read(subject: str) -> None:
    style, event = parse_subject(subject)
    assert f"events.{style}.{event}".rstrip(".") == subject


class Advisory:
    """What anybody may publish where the broker tells of exhausted messages."""

    subject = "advisory"

    def __init__(self, data: bytes) -> None:
        self.data = data


@pytest.mark.parametrize(
    "said",
    [
        *(b"\xff", b"{", b"{}", b"[]"),
        *(b'{"stream_seq": "x", "deliveries": 1}', b'{"stream_seq": 1, "deliveries": null}'),
        *(b'{"stream_seq": -1, "deliveries": 1}', b'{"stream_seq": 99999999999999999999, "deliveries": 1}'),
    ],
)
async def test_an_advisory_that_is_none_is_passed_over(said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    bus = EventBus("nats://nowhere", "test")
    await ExhaustedReader(bus, "inventory", Settings())._read(cast(Any, Advisory(said)))
    assert "is no advisory of the broker" in caplog.text
