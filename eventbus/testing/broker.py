"""A NATS server with JetStream, modelled: who is connected, what reaches whom, and how it dies and comes back.

One server, no cluster. It lives on one event loop, in callbacks of a context of its own, and draws chance from the
generator that it is given: the same program sees the same broker. What each part does, and that it does as nats-server
does, is said and held by tests/integration/broker_conformance.

    broker = ModelledBroker(random.Random(seed), clock)
    bus = EventBus("modelled", "orders", client=ModelledClient(broker))

What a simulation does to it: `crash` and `start`, `fill_disk`, `empty_disk`, `delete_stream`, `purge_stream`,
`delete_consumer`, `reset_consumer`; and, to one client, see eventbus.testing.client and eventbus.testing.link.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any, NamedTuple

from eventbus.testing.api import PREFIX, Api
from eventbus.testing.connection import Connection
from eventbus.testing.consumer import Consumer
from eventbus.testing.host import Headers
from eventbus.testing.link import Kind
from eventbus.testing.stream import Stream
from eventbus.testing.subjects import Interest
from mesh.clock import Clock, LoopClock

PAYLOAD_MAX_BYTES = 1 << 20
LEAVES_WITHIN_S = 0.01

_ACK = "$JS.ACK."
_NEXT = f"{PREFIX}CONSUMER.MSG.NEXT."


class Listener(NamedTuple):
    """A subscription of a client."""

    connection: Connection
    id: int


class ModelledBroker:
    """The server. To be made on the event loop that it shall live on."""

    def __init__(self, rng: random.Random, clock: Clock | None = None, *, sync_every_s: float = 0.0) -> None:
        """With `sync_every_s` it answers before it syncs, as nats-server does unless told otherwise."""
        self.context = Context()  # what runs here belongs to no client
        self.streams: dict[str, Stream] = {}
        self.running = True
        self.connections: dict[Connection, None] = {}  # in the order in which they came
        self._rng = rng
        self._clock = clock or LoopClock()
        self._loop = asyncio.get_running_loop()
        self._sync_every_s = sync_every_s
        self._started_s = self._loop.time()
        self._disk_full = False
        self._listeners: Interest[Listener] = Interest()
        self._names = 0
        self._leaving: dict[tuple[str, str], tuple[Consumer, float]] = {}  # deleted, and gone then
        self._api = Api(self)

    # -- what happens to it

    def crash(self, *, power_cut: bool = False) -> None:
        """It is killed: connections break, and what it only had in memory is gone.

        After a power cut what was not synced is gone too.
        """
        self._end()
        for stream in self.streams.values():
            if power_cut and self._sync_every_s:
                since_sync_s = (self.now_s() - self._started_s) % self._sync_every_s
                stream.lose_since(self.now_ns() - int(since_sync_s * 1e9))
            for consumer in stream.consumers.values():
                consumer.lose_memory(power_cut=power_cut)

    def stop(self) -> None:
        """It is stopped in peace: connections end, nothing is lost."""
        self._end()

    def start(self) -> None:
        """It comes back, with what its disk has."""
        self.running, self._started_s = True, self.now_s()
        for stream in self.streams.values():
            stream.recover()
            for consumer in stream.consumers.values():
                consumer.recover()

    def _end(self) -> None:
        self.running = False
        for connection in list(self.connections):
            connection.break_off()
        for stream in self.streams.values():
            for consumer in stream.consumers.values():
                consumer.halt()

    def empty_disk(self) -> None:
        """Everything that it keeps is gone; only while it does not run."""
        assert not self.running
        self.streams.clear()

    def fill_disk(self) -> None:
        """There is no room: who publishes waits in vain until there is room again *and* the broker was started anew."""
        self._disk_full = True

    def free_disk(self) -> None:
        """There is room again. Streams that met the full disk stay dead."""
        self._disk_full = False

    def delete_stream(self, name: str) -> None:
        """With its consumers."""
        self._leaving.clear()
        for consumer in self.streams.pop(name).consumers.values():
            consumer.delete()

    def purge_stream(self, name: str) -> None:
        """Of all messages."""
        self.streams[name].purge()

    def delete_consumer(self, stream: str, name: str) -> None:
        """As somebody does with a tool. Who waits is told of it a moment before it is gone."""
        consumer = self.streams[stream].consumers.pop(name)
        consumer.delete()
        self._leaving[stream, name] = (consumer, self.now_s() + self._rng.uniform(0, LEAVES_WITHIN_S))

    def reset_consumer(self, stream: str, name: str) -> None:
        """It starts over from the first message, which is as if it had been deleted and made anew."""
        self.streams[stream].consumers[name].reset()

    # -- connections

    def accept(self, connection: Connection) -> None:
        """A client connects."""
        self.connections[connection] = None

    def forget(self, connection: Connection) -> None:
        """A connection has ended: nobody listens on it any more."""
        if self.connections.pop(connection, self) is self:
            return
        for id in list(connection.subscriptions):
            self.unsubscribe(connection, id)

    def next_name(self) -> int:
        """A number that no client gets twice."""
        self._names += 1
        return self._names

    def subscribe(self, connection: Connection, id: int, pattern: str) -> None:
        """A client listens."""
        if id not in connection.subscriptions:
            connection.subscriptions[id] = pattern
            self._listeners.add(pattern, Listener(connection, id))

    def unsubscribe(self, connection: Connection, id: int) -> None:
        """And does not any more."""
        if (pattern := connection.subscriptions.pop(id, None)) is not None:
            self._listeners.remove(pattern, Listener(connection, id))

    # -- messages

    def publish(self, subject: str, reply: str, headers: Headers | None, body: bytes) -> None:
        """A message comes in."""
        if subject.startswith(_ACK):
            taken = self._answered(subject, reply, body)
        elif subject.startswith(_NEXT):
            taken = self._pull(subject, reply, body)
        elif subject.startswith(PREFIX):
            taken = True
            if (answer := self._api.answer(subject, body)) is not None and reply:
                self._answer(reply, answer)
        else:
            taken = self._store(subject, reply, headers, body)
            taken = self.send(subject, Kind.DELIVERY, subject, reply, headers, body) or taken
        if not taken and reply:
            nobody = {"Status": "503", "Nats-Subject": subject}
            self.send(reply, Kind.REPLY, reply, "", nobody, b"")

    def _answer(self, reply: str, answer: bytes) -> None:
        """Answers a request of the API: not before consumers that were deleted are gone."""
        gone_s = max((gone_s for _, gone_s in self._leaving.values()), default=0.0)
        if gone_s <= self.now_s():
            self._leaving.clear()
            self.send(reply, Kind.REPLY, reply, "", None, answer)
        else:
            self.call_at(gone_s, partial(self.send, reply, Kind.REPLY, reply, "", None, answer))

    def _store(self, subject: str, reply: str, headers: Headers | None, body: bytes) -> bool:
        """Whether there is a stream that takes the subject."""
        stream = next((stream for stream in self.streams.values() if stream.takes(subject)), None)
        if stream is None:
            return False
        answer: dict[str, Any] = {"stream": stream.name}
        if stream.is_too_large(headers, body):
            too_large = {"code": 400, "err_code": 10054, "description": "message size exceeds maximum allowed"}
            answer |= {"error": too_large, "seq": 0}
        elif sequence := stream.duplicate_of(headers):
            answer |= {"seq": sequence, "duplicate": True}
        elif stream.dead or self._disk_full:
            stream.dead = True
            return True
        else:
            answer["seq"] = stream.store(subject, headers, body).sequence
        if reply:
            self.send(reply, Kind.PUB_ACK, reply, "", None, json.dumps(answer).encode())
        return True

    def _pull(self, subject: str, reply: str, body: bytes) -> bool:
        """Whether there is such a consumer."""
        stream_name, _, name = subject[len(_NEXT) :].partition(".")
        stream = self.streams.get(stream_name)
        if stream is None or name not in stream.consumers:
            return False
        stream.expire()
        stream.consumers[name].pull(reply, json.loads(body) if body else {"batch": 1})
        return True

    def _answered(self, subject: str, reply: str, body: bytes) -> bool:
        """Whether there is such a consumer."""
        _, _, stream_name, name, _, sequence, delivery, _, _ = subject.split(".")
        stream = self.streams.get(stream_name)
        if stream is None or name not in stream.consumers:
            return False
        stream.consumers[name].answer(int(sequence), int(delivery), body, reply)
        return True

    # -- what its consumers need of it

    def send(self, to: str, kind: Kind, subject: str, reply: str, headers: Headers | None, body: bytes) -> bool:
        """Sends a message to those who listen to the subject `to`; whether there are any."""
        heard = False
        for connection, id in list(self._listeners.of(to)):
            connection.deliver(kind, subject, id, reply, headers, body)
            heard = True
        return heard

    def listens(self, subject: str) -> bool:
        """Whether anybody does."""
        return next(self._listeners.of(subject), None) is not None

    def advise(self, subject: str, **said: Any) -> None:
        """Publishes an advisory."""
        self.publish(subject, "", None, json.dumps(said).encode())

    def now_s(self) -> float:
        """The event loop's time."""
        return self._loop.time()

    def now_ns(self) -> int:
        """The time that is written down, in nanoseconds since the epoch."""
        return self._clock.now_us() * 1000

    def call_at(self, when_s: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Calls back at a time of the event loop."""
        return self._loop.call_at(when_s, callback, context=self.context)

    def after_recovery_s(self) -> float:
        """How long a broker that starts again waits before it looks at what was pending."""
        return self._rng.uniform(0.5, 1.5)

    # -- what its API needs of it

    def make_stream(self, config: dict[str, Any]) -> Stream:
        """Makes a stream."""
        stream = self.streams[config["name"]] = Stream(config, self.now_ns(), self.now_ns)
        return stream

    def make_consumer(self, stream: Stream, config: dict[str, Any]) -> Consumer:
        """Makes a consumer. It gets the position of one of the same name that is not quite gone."""
        consumer = Consumer(stream, config, self.now_ns(), self, self._sync_every_s)
        before, gone_s = self._leaving.pop((stream.name, consumer.name), (None, 0.0))
        if before is not None and self.now_s() < gone_s:
            consumer.follow(before)
        stream.consumers[consumer.name] = consumer
        return consumer
