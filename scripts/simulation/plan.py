"""What happens in one simulation: who orders what and when, and what goes wrong.

A plan is a list of items, each by itself: one that fails shrinks by leaving items out (scripts.simulation.shrinking).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from services import SERVICES

STYLES = ("ORCHESTRATED", "CHOREOGRAPHED", "HYBRID")
ORCHESTRATOR = "orchestrator"
PARTS = (*SERVICES, ORCHESTRATOR)
BROKER = "broker"


@dataclass(frozen=True)
class Placed:
    """A customer's order."""

    at_s: float
    number: int
    style: str
    by_event: bool  # by a program that publishes OrderPlaced, and knows no more than the broker
    articles: tuple[tuple[str, int], ...]
    token: str
    country: str

    @property
    def order_id(self) -> str:
        """As the mesh knows it."""
        return f"order-{self.number}"


@dataclass(frozen=True)
class Act:
    """What somebody does to an order's saga: a customer who cancels, a person who hands over or adopts."""

    at_s: float
    what: str  # one of ACTS
    number: int  # of the order


@dataclass(frozen=True)
class Fault:
    """What goes wrong: where, from when on, for how long, how much."""

    at_s: float
    kind: str  # one of scripts.simulation.drawing.FAULTS
    where: str
    for_s: float
    much: float


Item = Placed | Act | Fault


@dataclass(frozen=True)
class Plan:
    """All of it; `seed` also decides on what nobody planned (delays, whose message is lost)."""

    seed: int
    orchestrators: int
    replicas: str  # the service that has two processes; empty: none
    sync_every_s: float  # how often the broker syncs, after it has answered; 0: before
    items: tuple[Item, ...]

    def only(self, kept: Iterable[int]) -> Plan:
        """The same with some of its items, by their indexes."""
        return replace(self, items=tuple(self.items[index] for index in sorted(kept)))

    def text(self) -> str:
        """For people: an item a line, with its index."""
        head = f"seed {self.seed}: {self.orchestrators} orchestrator(s)"
        if self.replicas:
            head += f", two of {self.replicas}"
        if self.sync_every_s:
            head += f", a broker that syncs every {self.sync_every_s} s"
        return "\n".join([head, *(f"  {index:>2}. {told(item)}" for index, item in enumerate(self.items))])


ACTS = ("cancel by the customer", "cancel by the orchestrator", "hand over", "adopt")


def told(item: Item) -> str:
    """For people."""
    if isinstance(item, Placed):
        articles = ", ".join(f"{count} of {sku}" for sku, count in item.articles)
        how = "published as OrderPlaced" if item.by_event else f"placed {item.style}"
        return f"{item.at_s:.4f} s: {item.order_id} is {how}: {articles}, {item.token}, {item.country}"
    if isinstance(item, Act):
        return f"{item.at_s:.4f} s: order-{item.number}: {item.what}"
    return f"{item.at_s:.4f} s: {item.kind}, {item.where}, for {item.for_s} s, {item.much}"
