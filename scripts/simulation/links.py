"""The connections between simulated processes and the broker, and what goes wrong with them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from eventbus.testing import Kind
from scripts.simulation.network import Network
from scripts.simulation.plan import BROKER

LATE_S = 3.0


class Losses:
    """What goes wrong between the broker and everybody: rates, per message of a kind."""

    def __init__(self) -> None:
        self.lost: dict[Kind, float] = {}
        self.twice = 0.0  # of the deliveries
        self.late = 0.0
        self.harm: Counter[str] = Counter()


class BrokerLink:
    """The link of one part's client; see eventbus.testing.link."""

    def __init__(self, part: str, network: Network, losses: Losses, rng: random.Random) -> None:
        self._part = part
        self._network = network
        self._losses = losses
        self._rng = rng

    def arrivals(self, kind: Kind, subject: str) -> Sequence[float]:
        """When each copy of a message arrives."""
        losses, rng = self._losses, self._rng
        if losses.lost and rng.random() < losses.lost.get(kind, 0.0):
            losses.harm["messages of the broker lost"] += 1
            return ()
        delay_s = self._network.delay_s(self._part, BROKER)
        if kind is Kind.DELIVERY:
            if losses.late and rng.random() < losses.late:
                losses.harm["deliveries late"] += 1
                return (delay_s + rng.uniform(0, LATE_S),)
            if losses.twice and rng.random() < losses.twice:
                losses.harm["deliveries twice"] += 1
                return (delay_s, delay_s + rng.expovariate(1.0))
        return (delay_s,)
