"""The network between simulated processes: how long a message takes, and whether it arrives.

Everything is between parts, by their names ("orders", "orchestrator", "customer", "broker"); the replicas of a part
share its links. A link goes one way, so that a partition can, too. With nothing wrong a message takes about HOP_S.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

HOP_S = 0.001
# A message that the network holds up arrives so much later: after its sender has given up, often.
HELD_UP_S = 8.0

# What cannot get through is tried again after so long.
CONNECT_AGAIN_S = 0.1

Link = tuple[str, str]


@dataclass
class Weather:
    """What is wrong with the network now. Rates are per message."""

    loss: float = 0.0  # the connection breaks: the sender is told, and does not know whether it arrived
    held_up: float = 0.0
    slow: dict[str, float] = field(default_factory=dict)  # factors, by part
    cut: dict[Link, int] = field(default_factory=dict)  # how many faults cut a link now


class Network:
    """Decides the fate of each message, from the seed."""

    def __init__(self, rng: random.Random) -> None:
        self.weather = Weather()
        self.harm: Counter[str] = Counter()
        self.trace = 0  # of all messages: two runs of one seed have the same
        self._rng = rng

    def delay_s(self, sender: str, receiver: str) -> float:
        """How long a message takes."""
        slow = self.weather.slow
        factor = slow.get(sender, 1.0) * slow.get(receiver, 1.0) if slow else 1.0
        delay_s = self._rng.expovariate(1 / HOP_S) * factor
        if self.weather.held_up and self._rng.random() < self.weather.held_up:
            self.harm["messages held up"] += 1
            delay_s += self._rng.uniform(0, HELD_UP_S)
        self.trace = hash((self.trace, sender, receiver, delay_s))
        return delay_s

    def lost(self) -> bool:
        """Whether a connection breaks under a message."""
        if not self.weather.loss or self._rng.random() >= self.weather.loss:
            return False
        self.harm["connections broken under a message"] += 1
        return True

    def cut(self, sender: str, receiver: str) -> bool:
        """Whether nothing gets from one to the other now, and nobody is told."""
        if not self.weather.cut.get((sender, receiver)):
            return False
        self.harm["tries cut off"] += 1
        return True

    def sever(self, link: Link) -> None:
        """Cuts a link, until `mend` was called as often."""
        self.weather.cut[link] = self.weather.cut.get(link, 0) + 1

    def mend(self, link: Link) -> None:
        """Takes back one `sever`."""
        self.weather.cut[link] -= 1

    def coin(self) -> bool:
        """One or the other, evenly."""
        return self._rng.random() < 0.5
