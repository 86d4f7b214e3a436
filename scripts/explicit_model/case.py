"""One order: its states, and all that may happen to it.

What makes this small, and still covers any number of coordinators:
- An engine has no state of its own but what is durable. Whatever a ledger has answered it answers for ever, so any
  engine, new, crashed or asleep for a year, may at any time make any call that a workflow makes after those answers.
  One transition a call thus stands for every engine, every zombie, every late arrival and every repetition.
- An event that is published may be delivered at any time from then on, as often as it likes: that is duplication,
  reordering and redelivery. One that is lost is never published; it may be when the step is triggered again.
- A crash between a commit and the publication is a loss. A technical error is nothing: the message comes again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from scripts.explicit_model.rules import Rule

PENDING, CONFIRMED, COMPLETED, CANCELLED, COMPENSATED = "PENDING", "CONFIRMED", "COMPLETED", "CANCELLED", "COMPENSATED"
OPEN = (PENDING, CONFIRMED, CANCELLED)

NEVER, DONE, REFUSED, TOMBSTONE, FAILED = "", "DONE", "REFUSED", "TOMBSTONE", "FAILED"


@dataclass(frozen=True)
class Method:
    """A method as its contract has it."""

    service: str
    on: tuple[str, ...]
    emits: str = ""
    refuses: str = ""
    joins: bool = False
    compensates: str = ""


_STEPS = {  # each with its compensation
    "ReserveStock": (
        Method("inventory", ("OrderPlaced",), "StockReserved", "StockRefused"),
        "ReleaseStock",
        Method("inventory", ("OrderCancelled",), "StockReleased", compensates="ReserveStock"),
    ),
    "AuthorizePayment": (
        Method("payments", ("OrderPlaced",), "PaymentAuthorized", "PaymentDeclined"),
        "VoidPayment",
        Method("payments", ("OrderCancelled",), "PaymentVoided", compensates="AuthorizePayment"),
    ),
    "BookShipment": (
        Method("shipping", ("OrderPlaced",), "ShipmentBooked", "BookingRefused"),
        "CancelBooking",
        Method("shipping", ("OrderCancelled",), "BookingCancelled", compensates="BookShipment"),
    ),
}
FORWARD = ("CapturePayment", "DispatchShipment")
STEPS_MAX = len(_STEPS)


class Shop:
    """The contracts, with one or more of the steps before the pivot: the other rules do not need all of them."""

    def __init__(self, steps: int = STEPS_MAX) -> None:
        before = list(_STEPS.items())[:steps]
        step_methods = {name: method for name, (method, _, _) in before}
        compensations = {name: method for _, (_, name, method) in before}
        all_done = tuple(method.emits for method in step_methods.values())
        any_refused = (*(method.refuses for method in step_methods.values()), "ConfirmationRefused")
        all_undone = tuple(method.emits for method in compensations.values())
        self.methods = {
            "RecordOrder": Method("orders", ("OrderPlaced",)),
            **step_methods,
            "ConfirmOrder": Method("orders", all_done, "OrderConfirmed", "ConfirmationRefused", joins=True),
            "CapturePayment": Method("payments", ("OrderConfirmed",), "PaymentCaptured"),
            "DispatchShipment": Method("shipping", ("PaymentCaptured",), "ShipmentDispatched"),
            "CompleteOrder": Method("orders", ("ShipmentDispatched",)),
            "CancelOrder": Method("orders", any_refused, "OrderCancelled"),
            **compensations,
            "CloseOrder": Method("orders", all_undone, joins=True),
        }
        self.steps, self.compensations = tuple(step_methods), tuple(compensations)
        self.triggered: dict[str, list[str]] = {}
        for name, method in self.methods.items():
            for event in method.on:
                self.triggered.setdefault(event, []).append(name)


INDEX = {name: index for index, name in enumerate(Shop().methods)}

Names = frozenset[str]
NOTHING: Names = frozenset()


class State(NamedTuple):
    """All that is durable anywhere, and all that is on its way."""

    order: str = PENDING  # the row that PlaceOrder wrote
    ledger: tuple[str, ...] = (NEVER,) * len(INDEX)
    choreographed: Names = NOTHING  # services whose ledger has a choreographed trigger of the case
    arrived: Names = NOTHING  # events that have come to a join
    published: Names = NOTHING  # events that may be delivered
    effects: frozenset[tuple[str, int]] = frozenset()  # how often each step has taken effect, less its reversals
    orchestrated: bool = False  # an orchestrator's journal has the case
    cancelling: bool = False  # … and that it is to be cancelled
    acknowledged: bool = False  # a client was told that its cancellation was taken
    told: str = ""  # how the case has ended, as an orchestrator has it
    # Only without a rule:
    gave_up: bool = False  # the engine ended the case as it stands (FOLLOW_THE_WINNER)
    started: Names = NOTHING  # what an engine remembers (COMPENSATE_ALL)
    said: str = ""  # the request that CancelOrder was done with (ONE_REQUEST)

    def row(self, method: str) -> str:
        """A method's row in its ledger."""
        return self.ledger[INDEX[method]]

    def with_row(self, method: str, row: str) -> State:
        """The state with another row."""
        index = INDEX[method]
        return self._replace(ledger=(*self.ledger[:index], row, *self.ledger[index + 1 :]))

    def effect(self, step: str) -> int:
        """How often a step has taken effect, less its reversals."""
        return dict(self.effects).get(step, 0)

    def with_effect(self, step: str, count: int) -> State:
        """The state with one effect more, or less."""
        effects = {**dict(self.effects), step: self.effect(step) + count}
        return self._replace(effects=frozenset(item for item in effects.items() if item[1]))


Move = tuple[str, State]
Rules = frozenset[Rule]


class Case:
    """What may happen to one order under a set of rules."""

    def __init__(self, shop: Shop, rules: Rules, *, losing: bool = True) -> None:
        """`losing`: an event may be lost whenever it is emitted."""
        self._shop = shop
        self._rules = rules
        self._losing = losing

    def everything(self, state: State) -> Iterator[Move]:
        """Every move of every part."""
        if "OrderPlaced" not in state.published:
            # PlaceOrder, a hand-over, a healing: whenever it likes.
            yield "OrderPlaced is published", state._replace(published=state.published | {"OrderPlaced"})
        if not state.orchestrated:
            yield "an orchestrator starts, or adopts, the saga", state._replace(orchestrated=True)
        yield from self.deliveries(state)
        yield from self.calls(state)
        if state.orchestrated and not state.acknowledged and not state.told:
            yield (
                "a client cancels at the orchestrator, which acknowledges",
                state._replace(cancelling=True, acknowledged=True),
            )
        for after in self._handle(state, "CancelOrder", ""):
            yield "a client calls CancelOrder", after
        yield from self._crashes(state)

    def healing(self, state: State) -> Iterator[Move]:
        """What choreography does alone: the watch publishes the first event again, and the services do the rest."""
        watched = OPEN if Rule.WATCH_BOTH_SIDES in self._rules else (PENDING,)
        if state.order in watched and "OrderPlaced" not in state.published:
            yield "the watch publishes OrderPlaced again", state._replace(published=state.published | {"OrderPlaced"})
        yield from self.deliveries(state)

    def deliveries(self, state: State) -> Iterator[Move]:
        """Each event that may be delivered, to each method that it triggers."""
        for event in sorted(state.published):
            for method in self._shop.triggered.get(event, ()):
                for after in self._handle(state, method, event):
                    yield f"{event} triggers {method}", after

    def calls(self, state: State) -> Iterator[Move]:
        """Each call that an engine may make."""
        if not state.orchestrated or state.gave_up:
            return
        for method in self._callable(state):
            for after in self._handle(state, method, ""):
                yield f"an engine calls {method}", self._answered(after, method)
        if state.cancelling and state.row("CancelOrder") == REFUSED:
            lost = state._replace(cancelling=False)
            if Rule.FOLLOW_THE_WINNER in self._rules:
                yield "an engine learns that the pivot was first", lost
            else:
                yield "an engine learns that the pivot was first, and gives up", lost._replace(gave_up=True)

    def _callable(self, state: State) -> Iterator[str]:
        yield from ("RecordOrder", *self._shop.steps)
        if all(state.row(step) == DONE for step in self._shop.steps):
            yield "ConfirmOrder"
        if state.row("ConfirmOrder") == DONE:
            yield "CapturePayment"
        if state.row("CapturePayment") == DONE:
            yield "DispatchShipment"
        if state.row("DispatchShipment") == DONE:
            yield "CompleteOrder"
        if not (state.cancelling or self._is_refused(state)):
            return
        yield "CancelOrder"
        aborted = state.row("CancelOrder") == DONE
        if aborted or Rule.ABORT_FIRST not in self._rules:
            yield from self._compensations(state)
        if aborted and all(state.row(name) == DONE for name in self._compensations(state)):
            yield "CloseOrder"

    def _is_refused(self, state: State) -> bool:
        refusals = (REFUSED, TOMBSTONE) if Rule.TOMBSTONES_MATCH in self._rules else (REFUSED,)
        return any(state.row(name) in refusals for name in (*self._shop.steps, "ConfirmOrder"))

    def _compensations(self, state: State) -> Iterator[str]:
        for name in self._shop.compensations:
            if Rule.COMPENSATE_ALL in self._rules or self._shop.methods[name].compensates in state.started:
                yield name

    def _answered(self, state: State, method: str) -> State:
        if method in self._shop.steps and Rule.COMPENSATE_ALL not in self._rules:
            return state._replace(started=state.started | {method})
        if method == "CompleteOrder" and state.row(method) == DONE:
            return state._replace(told=COMPLETED)
        if method == "CloseOrder" and state.row(method) == DONE:
            return state._replace(told=COMPENSATED)
        return state

    def _crashes(self, state: State) -> Iterator[Move]:
        """An engine crashes and forgets what it only remembers. With all rules that is nothing."""
        after = state._replace(started=NOTHING)
        if Rule.CANCELLATIONS_ARE_DURABLE not in self._rules:
            after = after._replace(cancelling=False)
        if after != state:
            yield "the orchestrator crashes", after

    def _handle(self, state: State, method: str, event: str) -> Iterator[State]:
        """A participant takes a trigger: an event, or a call ("")."""
        contract = self._shop.methods[method]
        if event:
            state = state._replace(choreographed=state.choreographed | {contract.service})
        if contract.joins and event:
            was_complete = state.arrived.issuperset(contract.on)
            state = state._replace(arrived=state.arrived | {event})
            ignored = was_complete and Rule.ARRIVALS_ARE_FACTS not in self._rules
            if ignored or not state.arrived.issuperset(contract.on):
                yield state
                return
        row = state.row(method)
        if row == NEVER:
            for after in self._perform(state, method, event):
                yield from self._emit(after, method)
        elif row == TOMBSTONE:
            speaks = event and {Rule.TOMBSTONES_SPEAK, Rule.TOMBSTONES_MATCH} <= self._rules
            yield from self._publish(state, method, contract.refuses if speaks else "")
        elif row != FAILED and (method != "CancelOrder" or state.said == self._request(event)):
            yield from self._emit(state, method)

    def _perform(self, state: State, method: str, event: str) -> Iterator[State]:
        """The handler, for the first time: every outcome that it may have."""
        if method == "RecordOrder":
            state = state if Rule.RECORD_CHANGES_NOTHING in self._rules else state._replace(order=PENDING)
            yield state.with_row(method, DONE)
        elif method in self._shop.steps:
            yield state.with_effect(method, 1).with_row(method, DONE)
            yield state.with_row(method, REFUSED)
            if Rule.ONLY_OUTCOMES not in self._rules:
                yield state.with_row(method, FAILED)
        elif method == "ConfirmOrder":
            yield self._decide(state, method, CONFIRMED)
        elif method == "CancelOrder":
            yield self._decide(state, method, CANCELLED)._replace(said=self._request(event))
        elif method in self._shop.compensations:
            yield from self._compensate(state, method)
        elif method in FORWARD:
            yield state.with_effect(method, 1).with_row(method, DONE)
        else:
            before, after = (CONFIRMED, COMPLETED) if method == "CompleteOrder" else (CANCELLED, COMPENSATED)
            if state.order == before:  # else out of order: a technical error
                yield state._replace(order=after).with_row(method, DONE)

    def _decide(self, state: State, method: str, side: str) -> State:
        """The compare-and-set on the order's row."""
        if state.order != PENDING:
            return state.with_row(method, REFUSED)
        return state._replace(order=side).with_row(method, DONE)

    def _compensate(self, state: State, method: str) -> Iterator[State]:
        step = self._shop.methods[method].compensates
        row = state.row(step)
        if row == DONE:
            state = state.with_effect(step, -1)
            if Rule.ANSWERS_STAY not in self._rules:
                state = state.with_row(step, NEVER)
        elif Rule.COMPENSATIONS_SUCCEED not in self._rules:
            return
        elif row == NEVER:
            state = state.with_row(step, TOMBSTONE)
        yield state.with_row(method, DONE)

    def _request(self, event: str) -> str:
        return "the order" if Rule.ONE_REQUEST in self._rules else f"the order and {event or 'a call'}"

    def _emit(self, state: State, method: str) -> Iterator[State]:
        contract = self._shop.methods[method]
        yield from self._publish(state, method, contract.emits if state.row(method) == DONE else contract.refuses)

    def _publish(self, state: State, method: str, event: str) -> Iterator[State]:
        heard = event and self._shop.methods[method].service in state.choreographed and event not in state.published
        if heard:
            yield state._replace(published=state.published | {event})
        if not heard or self._losing:
            yield state
