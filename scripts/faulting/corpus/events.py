"""NATS: each event with everything that is none, and what else can be wrong with a message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from eventbus.bus import EventBus
from eventbus.dead_letters import DeadLetter
from eventbus.envelope import CHOREOGRAPHED, MESSAGE_ID, ONLY_FOR, ORCHESTRATED, REPLAY, subject
from eventbus.letter_box import Filter, LetterBox
from eventbus.streams import DEAD_LETTERS, EVENTS, EXHAUSTED, exhausted_subject
from mesh.contract import Contract, EventType, service_name
from mesh.settings import EVENT_BYTES_MAX, MESSAGE_BYTES_MAX
from mesh.telemetry import TRACEPARENT
from scripts.faulting.corpus.calls import INVALID_MESSAGE
from scripts.faulting.corpus.rules import broken, without_saga
from scripts.faulting.corpus.samples import sample
from scripts.faulting.corpus.wire import NO_MESSAGE, field_of, invalid_utf8
from services import SERVICES
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order

CONTRACT = Contract.of_packages("shop")
CONSUMERS = (*SERVICES, "tracker")

# What a run of an order that nobody refuses has emitted, and has triggered steps of others.
HAPPENED = (
    *("orders.v1.OrderPlaced", "inventory.v1.StockReserved", "payments.v1.PaymentAuthorized"),
    *("shipping.v1.ShipmentBooked", "orders.v1.OrderConfirmed", "payments.v1.PaymentCaptured"),
    "shipping.v1.ShipmentDispatched",
)

ANSWER_S = 30.0
AT_ONCE, REMOVED_AT_ONCE = 64, 8
LOOK_AGAIN_S = 0.05


@dataclass(frozen=True)
class Event:
    """A message, and whose dead letter it must become, for which reason; nobody's: it must be passed over."""

    name: str
    subject: str
    body: bytes
    headers: Mapping[str, str] | None = None
    letters: Mapping[str, str] = field(default_factory=dict)  # reasons by service


def events(order: Order) -> list[Event]:
    """Everything. `order` is one that has completed by choreography."""
    found = [poison for event in CONTRACT.events.values() for poison in _of_event(event, order)]
    return [*found, *_mismatches(order), *_oddities(order), *_elsewhere(order)]


def _of_event(event: EventType, order: Order) -> Iterator[Event]:
    """An event whose body is none."""
    letters = dict.fromkeys(_followers(event.full_name), INVALID_MESSAGE)
    good = sample(event.descriptor, order)
    bodies, wrong = dict(NO_MESSAGE), [*broken(good), *without_saga(good)]
    if (text := invalid_utf8(event.descriptor)) is not None:
        bodies["a text that is no UTF-8"] = text
    bodies |= {f"{one.path} {one.how}": one.message.SerializeToString() for one in wrong}
    if not event.starts:  # the others carry the same order: a sixth of it
        bodies = dict(list(bodies.items())[::6])
    for how, body in bodies.items():
        yield Event(f"{_short(event)}: {how}", subject(CHOREOGRAPHED, event.full_name), body, None, letters)


def _mismatches(order: Order) -> Iterator[Event]:
    """What happened to the order, told of another order of the same id."""
    another = Order()
    another.CopyFrom(order)
    another.customer_id = "somebody-else"
    for name in HAPPENED:
        event = CONTRACT.events[f"shop.{name}"]
        letters = dict.fromkeys(_followers(event.full_name), "STEP_MISMATCH")
        body = sample(event.descriptor, another).SerializeToString()
        yield Event(f"{_short(event)}: another order", subject(CHOREOGRAPHED, event.full_name), body, None, letters)


def _oddities(order: Order) -> Iterator[Event]:
    """The order's first event once more, with something odd about it: handled as ever, and nobody's letter."""
    body, on = OrderPlaced(order=order).SerializeToString(), subject(CHOREOGRAPHED, OrderPlaced.DESCRIPTOR.full_name)
    for how, headers in {
        "no headers": None,
        "a type of another event": {"ce-type": "shop.orders.v1.OrderCompleted"},
        "a version of CloudEvents that is none": {"ce-specversion": "99"},
        "a content type of another": {"ce-datacontenttype": "application/json"},
        "a time that is none": {"ce-time": "yesterday"},
        "a message id of wildcards": {MESSAGE_ID: "> * . :"},
        "a message id of 8 KiB": {MESSAGE_ID: "x" * 8192},
        "a message id that is no ASCII": {MESSAGE_ID: "ä€😀"},
        "a trace of garbage": {TRACEPARENT: "garbage"},
        "a trace that is no ASCII": {TRACEPARENT: "ä€😀"},
        "a replay of garbage": {REPLAY: "garbage"},
        "a replay that is no ASCII": {REPLAY: "ä€😀"},
        "a replay of 8 KiB": {REPLAY: "x" * 8192},
        "a replay of another version of UUID": {REPLAY: "00000000-0000-4000-8000-000000000000"},
        "a status of the broker": {"Status": "404", "Description": "No Messages"},
        "a hundred headers": {f"x-{number}": "x" for number in range(100)},
        "for nobody": {ONLY_FOR: "nobody"},
        "for several": {ONLY_FOR: "orders,inventory"},
    }.items():
        yield Event(f"OrderPlaced: {how}", on, body, headers)
    too_large = dict.fromkeys(_followers(OrderPlaced.DESCRIPTOR.full_name), INVALID_MESSAGE)
    padded = OrderPlaced(order=Order.FromString(order.SerializeToString() + field_of(1000, bytes(MESSAGE_BYTES_MAX))))
    yield Event("OrderPlaced: an order that no call would take", on, padded.SerializeToString(), None, too_large)
    largest = b"\xff" * (EVENT_BYTES_MAX - len(on) - 64)  # beside its subject, and what the stream writes with it
    yield Event("OrderPlaced: as large as the stream takes", on, largest, None, too_large)


def _elsewhere(order: Order) -> Iterator[Event]:
    """Subjects on which there are no events, and those of the broker itself."""
    body, name = OrderPlaced(order=order).SerializeToString(), OrderPlaced.DESCRIPTOR.full_name
    for where in (
        *("events.x", f"events.{CHOREOGRAPHED}", f"events.{ORCHESTRATED}", "events.x.y"),
        *(f"events.{CHOREOGRAPHED}.no.such.Event", f"events.{CHOREOGRAPHED}.shop.orders.v1.Order"),
        *(subject("sideways", name), subject("CHOREOGRAPHED", name), subject(ORCHESTRATED, name)),
        *(subject(CHOREOGRAPHED, f"{name}.x"), subject(CHOREOGRAPHED, name.upper()), f"events.{'x.' * 100}x"),
        *("dead.x", f"dead.nobody.{name}", f"dead.inventory.{name}"),
    ):
        yield Event(f"an event on {where[:60]}", where, body)
        yield Event(f"garbage on {where[:60]}", where, b"\xff\xff\xff")
    for consumer in ("inventory", "tracker"):
        for how, said in {
            "garbage": b"\xff\xff\xff",
            "no JSON": b"{",
            "nothing": b"{}",
            "a list": b"[]",
            "no numbers": b'{"stream_seq": "x", "deliveries": null}',
            "a negative message": b'{"stream_seq": -1, "deliveries": 1}',
            "a message that is not there": b'{"stream_seq": 999999999, "deliveries": 1}',
            "a message beyond 64 bits": b'{"stream_seq": 99999999999999999999, "deliveries": 1}',
        }.items():
            yield Event(f"an advisory for {consumer}: {how}", exhausted_subject(consumer), said)


def _followers(event: str) -> list[str]:
    """The services that an event triggers."""
    methods = [*CONTRACT.triggered_by(event), *CONTRACT.observing(event)]
    return sorted({service_name(method.service) for method in methods})


def _short(event: EventType) -> str:
    return event.full_name.rpartition(".")[2]


async def give(bus: EventBus, poisons: Iterable[Event]) -> list[str]:
    """Publishes all; a line for each of which something else became. The dead letters are taken away again."""
    poisons, box = list(poisons), LetterBox(bus)
    before = (await bus.jetstream.stream_info(DEAD_LETTERS)).state.last_seq
    stored = await _publish(bus, poisons)
    wanted = {
        (service, sequence): reason
        for sequence, poison in stored.items()
        for service, reason in poison.letters.items()
        if poison.subject.startswith("events.")
    }
    found = await _letters(box, wanted, before)
    readers = [(stream, consumer) for stream in (EVENTS, EXHAUSTED) for consumer in CONSUMERS]
    wrong = [
        f"{reader} of {stream} does not come to rest"
        for stream, reader in readers
        if not await _rests(bus, stream, reader)
    ]
    for (service, sequence), reason in wanted.items():
        if (letter := found.get((service, sequence))) is None:
            wrong.append(f"{stored[sequence].name}: no dead letter of {service}")
        elif letter.reason != reason:
            wrong.append(f"{stored[sequence].name}: a dead letter of {service} by {letter.reason}, not {reason}")
    for (service, sequence), letter in found.items():
        if sequence in stored and (service, sequence) not in wanted:
            wrong.append(f"{stored[sequence].name}: a dead letter of {service}: {letter.message}")
    await _remove(bus, [letter.id for letter in found.values() if letter.sequence in stored or not letter.sequence])
    return wrong


async def _remove(bus: EventBus, ids: list[int]) -> None:
    """Takes dead letters away. Each is a write to the broker's disk."""
    room = asyncio.Semaphore(REMOVED_AT_ONCE)

    async def one(id_: int) -> None:
        async with room:
            await bus.jetstream.delete_msg(DEAD_LETTERS, id_)

    await asyncio.gather(*map(one, ids))


async def _publish(bus: EventBus, poisons: list[Event]) -> dict[int, Event]:
    """By their sequences in the stream of events, where that is where they went."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(poison: Event) -> tuple[int, Event]:
        async with room:
            headers = dict(poison.headers) if poison.headers else None
            ack = await bus.jetstream.publish(poison.subject, poison.body, headers=headers, timeout=ANSWER_S)
            return (ack.seq if ack.stream == EVENTS else 0), poison

    stored = dict(await asyncio.gather(*map(one, poisons)))
    stored.pop(0, None)
    return stored


async def _letters(
    box: LetterBox, wanted: Mapping[tuple[str, int], str], after: int
) -> dict[tuple[str, int], DeadLetter]:
    """The letters that come, until all that are wanted have, or after a while as they are."""
    found: dict[tuple[str, int], DeadLetter] = {}
    deadline_s = time.monotonic() + ANSWER_S
    while True:
        async for letter in box.find(Filter(), after):
            after = letter.id
            found[letter.service, letter.sequence] = letter
        if wanted.keys() <= found.keys() or time.monotonic() > deadline_s:
            return found
        await asyncio.sleep(LOOK_AGAIN_S)


async def _rests(bus: EventBus, stream: str, consumer: str) -> bool:
    """Whether a consumer has handled everything, within a while."""
    deadline_s = time.monotonic() + ANSWER_S
    while True:
        info = await bus.jetstream.consumer_info(stream, consumer)
        if not (info.num_pending or info.num_ack_pending):
            return True
        if time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(LOOK_AGAIN_S)
