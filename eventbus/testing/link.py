"""What happens between a client and the broker: nothing at all, by default.

A simulation gives each client a Link of its own. Everything that is sent is put before it, and it says when that
arrives, and how often:

    (0.0,)       at once            (0.3,)       late
    ()           never              (0.1, 2.0)   twice

A connection is a stream of bytes: what arrives, arrives in the order in which it was sent, and only copies may come
whenever they like. Different clients overtake each other. What CONTROL carries (subscribing, above all) is never lost:
a real connection would be lost with it, for which there is `ModelledClient.cut`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol


class Kind(Enum):
    """What is sent."""

    # to the broker
    PUBLISH = "a message for a stream, or for other clients"
    ACK = "an answer to a delivery"
    REQUEST = "a request of the JetStream API, asking for messages among them"
    CONTROL = "subscribe, unsubscribe, ping, close; and what answers them"
    # from the broker
    PUB_ACK = "a message is stored"
    DELIVERY = "a message"
    REPLY = "an answer of the API, a heartbeat, the end of a request"


class Link(Protocol):
    """The policy of one client's link."""

    def arrivals(self, kind: Kind, subject: str) -> Sequence[float]:
        """After how many seconds each copy arrives; none: it is lost."""


class Perfect:
    """Everything arrives, at once and once."""

    def arrivals(self, kind: Kind, subject: str) -> Sequence[float]:
        """Now."""
        return _NOW


_NOW = (0.0,)
