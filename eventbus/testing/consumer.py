"""One durable pull consumer, as nats-server 2.15 keeps it (server/consumer.go).

A message is never delivered, or pending (delivered, its ack wait runs), or queued to be delivered again, or answered:

    never delivered ── pull ── pending ── ack, term ── answered
                                  │  └── nak ──────────┐
                                  └── ack wait over ── queued ── pull ── pending
                                                                └─ the deliveries are used up: advisory, answered

What is queued goes before what was never delivered, and is not held back by `max_ack_pending`. Several requests are
answered in turn. An answer is credited to the message and not to the delivery: a late one ends the redelivery too.
"""

from __future__ import annotations

import json
from asyncio import TimerHandle
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from eventbus.testing.consumer_state import WRITTEN_EVERY_S, Pending, State, WriteBehind
from eventbus.testing.link import Kind
from eventbus.testing.stream import Stored, Stream
from eventbus.testing.subjects import matches

Headers = dict[str, str]

# nats-server waits a moment longer than it must, so that what ends together is treated together.
_GRACE_S = 0.001
_NAK_CHECK_S = 0.01
_MAX_DELIVERIES = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES"


class Host(Protocol):
    """What a consumer needs of its broker."""

    def now_s(self) -> float:
        """The event loop's time."""

    def now_ns(self) -> int:
        """The time that is written down, in nanoseconds since the epoch."""

    def call_at(self, when_s: float, callback: Callable[[], None]) -> TimerHandle:
        """Calls back at a time of the event loop."""

    def send(self, to: str, kind: Kind, subject: str, reply: str, headers: Headers | None, body: bytes) -> bool:
        """Sends a message to those who listen to the subject `to`; whether there are any."""

    def listens(self, subject: str) -> bool:
        """Whether anybody does."""

    def advise(self, subject: str, **said: Any) -> None:
        """Publishes an advisory."""

    def after_recovery_s(self) -> float:
        """How long a broker that starts again waits before it looks at what was pending."""


@dataclass(slots=True)
class Request:
    """A pull request that is not fulfilled yet. Times are the event loop's, in seconds."""

    reply: str
    wanted: int
    expires_s: float | None
    heartbeat_s: float
    next_heartbeat_s: float
    no_wait: bool
    delivered: int = 0


class Consumer:
    """The state machine of one consumer. Lives in its broker's callbacks; nothing here waits."""

    def __init__(
        self, stream: Stream, config: dict[str, Any], created_ns: int, host: Host, synced_every_s: float
    ) -> None:
        self.config = config
        self.name: str = config["durable_name"]
        self.created_ns = created_ns
        self.waiting: deque[Request] = deque()
        self.unseen = 0  # messages for it that were never delivered
        self._stream = stream
        self._host = host
        self._synced_every_s = synced_every_s
        self._again: dict[int, None] = {}  # queued to be delivered again, in this order
        self._gone = False
        self._requests_timer: TimerHandle | None = None
        self._pending_timer: TimerHandle | None = None
        self._filters: frozenset[str] = frozenset()
        self._patterns: tuple[str, ...] = ()
        self._read_config()
        self.reset()

    # -- what others do to it

    def reset(self) -> None:
        """Starts over from the first message that the stream has."""
        first = max(1, self._stream.first_sequence)
        if self.config["deliver_policy"] == "new":
            first = self._stream.last_sequence + 1
        self.state = State(next_sequence=first, floor_sequence=first - 1)
        self._again = {}
        self._disk = WriteBehind(self.state, WRITTEN_EVERY_S, self._host.now_s())
        self._synced = WriteBehind(self.state, self._synced_every_s, self._host.now_s())
        self._count_unseen()
        self._run()

    def update(self, config: dict[str, Any]) -> None:
        """Takes another configuration; the position is kept."""
        self.config = config
        self._read_config()
        self._count_unseen()
        self._run()

    def stored(self, message: Stored) -> None:
        """The stream has a new message."""
        if self.takes(message.subject):
            self.unseen += 1
            self._run()

    def removed(self, message: Stored) -> None:
        """The stream lost one message: it is answered."""
        if message.sequence >= self.state.next_sequence:
            if self.takes(message.subject):
                self.unseen -= 1
        else:
            self._acknowledge(message.sequence)

    def purged(self) -> None:
        """The stream lost many messages."""
        state = self.state
        state.next_sequence = max(state.next_sequence, self._stream.first_sequence)
        for sequence in [sequence for sequence in state.pending if sequence not in self._stream.messages]:
            self._acknowledge(sequence)
        self._again = {sequence: None for sequence in self._again if sequence in self._stream.messages}
        if not state.pending:
            state.redelivered = {}
            self._raise_floor_to_all()
        self._disk.write(state, self._host.now_s())
        self._count_unseen()

    def pull(self, reply: str, asked: dict[str, Any]) -> None:
        """Takes a request for messages."""
        now_s = self._host.now_s()
        expires_s = asked.get("expires", 0) / 1e9
        heartbeat_s = asked.get("idle_heartbeat", 0) / 1e9
        no_wait = bool(asked.get("no_wait"))
        if heartbeat_s * 2 > expires_s:
            self._tell(reply, "400", "Bad Request - heartbeat value too large")
        elif no_wait and not expires_s and not self.unseen and not self._again:
            self._tell(reply, "404", "No Messages")
        elif len(self.waiting) >= self.config["max_waiting"]:
            if not heartbeat_s:
                self._tell(reply, "409", "Exceeded MaxWaiting")
        else:
            wanted = max(1, asked.get("batch", 1))
            until_s = now_s + expires_s if expires_s else None
            self.waiting.append(Request(reply, wanted, until_s, heartbeat_s, now_s + heartbeat_s, no_wait))
            self._run()

    def answer(self, sequence: int, delivery: int, said: bytes, reply: str) -> None:
        """Takes an acknowledgement of one of the four kinds; `reply` is told that it was taken."""
        if said.startswith(b"-NAK"):
            self._refuse(sequence, delivery, said[4:].strip())
        elif said == b"+WPI":
            self._progress(sequence)
        elif sequence < self.state.next_sequence:  # +ACK or nothing, +TERM: both end it
            self._acknowledge(sequence)
        else:
            return
        if reply:
            self._host.send(reply, Kind.REPLY, reply, "", None, b"")

    def delete(self) -> None:
        """Ends it; who waits is told."""
        self.halt()
        for request in self.waiting:
            self._tell(request.reply, "409", "Consumer Deleted")
        self.waiting.clear()

    def halt(self) -> None:
        """Stops, without a word: the broker is gone."""
        self._gone = True
        for timer in (self._requests_timer, self._pending_timer):
            if timer is not None:
                timer.cancel()
        self._requests_timer = self._pending_timer = None

    def lose_memory(self, *, power_cut: bool) -> None:
        """The broker was killed: only what its disk has is left."""
        disk = self._synced if power_cut else self._disk
        self.state = disk.read(self.state, self._host.now_s())

    def recover(self) -> None:
        """What a broker that starts again makes of it, and of what is left of the stream."""
        now_s = self._host.now_s()
        self.state.pending = {
            sequence: Pending(pending.delivery, pending.written_s, pending.written_s)
            for sequence, pending in self.state.pending.items()
        }
        self._again = {}
        self.waiting.clear()
        self._gone = False
        self._reconcile()
        for disk in (self._disk, self._synced):
            disk.write(self.state, now_s)
        self._count_unseen()
        if self.state.pending:
            self._check_pending_at(now_s + min(self._host.after_recovery_s(), self.ack_wait_s + _GRACE_S))

    # -- questions

    def takes(self, subject: str) -> bool:
        """Whether messages of a subject are for it."""
        return subject in self._filters or any(matches(pattern, subject) for pattern in self._patterns)

    # -- deliveries

    def _run(self) -> None:
        """Delivers what there is to those who asked, and looks after those who go on waiting."""
        held_back = False
        while self.waiting and not self._gone:
            held_back = self._is_held_back()
            found = self._next_message()
            if found is None:
                break
            message, deliveries = found
            request = self._next_request()
            if request is None:
                self._put_back(message, deliveries)
                break
            self._deliver(request, message, deliveries)
        self._tend(at_end=not held_back)

    def _is_held_back(self) -> bool:
        most = self.config["max_ack_pending"]
        return not self._again and 0 < most <= len(self.state.pending)

    def _next_message(self) -> tuple[Stored, int] | None:
        """The next message, and which delivery of it this is."""
        state = self.state
        while self._again:
            sequence = next(iter(self._again))
            del self._again[sequence]
            deliveries = state.redelivered.get(sequence, 0) + 2
            if 0 < self.deliveries_max < deliveries:
                self._use_up(sequence, deliveries)
                continue
            message = self._stream.messages.get(sequence)
            if message is None:
                self._acknowledge(sequence)
                continue
            self._changing()
            state.redelivered[sequence] = deliveries - 1
            return message, deliveries
        if self._is_held_back():
            return None
        for message in self._stream.from_sequence(state.next_sequence):
            if self.takes(message.subject):
                self._changing()
                state.next_sequence = message.sequence + 1
                self.unseen -= 1
                return message, 1
        state.next_sequence = max(state.next_sequence, self._stream.last_sequence + 1)
        return None

    def _put_back(self, message: Stored, deliveries: int) -> None:
        if deliveries == 1:
            self.state.next_sequence = message.sequence
            self.unseen += 1
        else:
            self.state.redelivered[message.sequence] -= 1
            if not self.state.redelivered[message.sequence]:
                del self.state.redelivered[message.sequence]
            self._again[message.sequence] = None

    def _next_request(self) -> Request | None:
        """The request whose turn it is. One that nobody listens to any more is forgotten."""
        now_s = self._host.now_s()
        while self.waiting:
            request = self.waiting.popleft()
            if request.expires_s is not None and now_s >= request.expires_s:
                self._expire(request)
            elif self._host.listens(request.reply):
                request.wanted -= 1
                request.delivered += 1
                if request.wanted:
                    request.next_heartbeat_s = now_s + request.heartbeat_s
                    self.waiting.append(request)
                return request
        return None

    def _deliver(self, request: Request, message: Stored, deliveries: int) -> None:
        state, now_s = self.state, self._host.now_s()
        sequence, delivery = message.sequence, state.next_delivery
        state.next_delivery += 1
        first = state.pending[sequence].delivery if sequence in state.pending else delivery
        written_s = self._as_written_s(message.time_ns)
        state.pending[sequence] = Pending(first, now_s, written_s)
        self._check_pending_at(now_s + self.ack_wait_s + _GRACE_S)
        reply = (
            f"$JS.ACK.{self._stream.name}.{self.name}.{deliveries}.{sequence}.{delivery}."
            f"{message.time_ns}.{max(0, self.unseen)}"
        )
        headers = None if message.headers is None else dict(message.headers)
        self._host.send(request.reply, Kind.DELIVERY, message.subject, reply, headers, message.body)

    def _use_up(self, sequence: int, deliveries: int) -> None:
        """A message was delivered as often as it may be: that is said once, and then no more of it."""
        if deliveries == self.deliveries_max + 1:
            self._advise_of(sequence, self.deliveries_max)
        self._changing()
        self.state.redelivered[sequence] = deliveries - 1
        if (pending := self.state.pending.pop(sequence, None)) is not None:
            self._raise_floor(pending.delivery, sequence)

    def _advise_of(self, sequence: int, deliveries: int) -> None:
        self._host.advise(
            f"{_MAX_DELIVERIES}.{self._stream.name}.{self.name}",
            type="io.nats.jetstream.advisory.v1.max_deliver",
            stream=self._stream.name,
            consumer=self.name,
            stream_seq=sequence,
            deliveries=deliveries,
        )

    # -- answers

    def _acknowledge(self, sequence: int) -> None:
        held_back = self._is_held_back()
        self._changing()
        if (pending := self.state.pending.pop(sequence, None)) is not None:
            self._raise_floor(pending.delivery, sequence)
        self.state.redelivered.pop(sequence, None)
        self._again.pop(sequence, None)
        if held_back:
            self._run()

    def _refuse(self, sequence: int, delivery: int, options: bytes) -> None:
        pending = self.state.pending.get(sequence)
        if pending is None or not self.state.floor_delivery < delivery <= self.state.next_delivery:
            return
        delay_s = json.loads(options)["delay"] / 1e9 if options else 0.0
        if not delay_s:
            self._again[sequence] = None
            self._run()
            return
        self._changing()
        now_s = self._host.now_s()
        since_s = now_s - self.ack_wait_s + delay_s
        self._again.pop(sequence, None)
        written_s = self._as_written_s(self._host.now_ns() + int((since_s - now_s) * 1e9))
        self.state.pending[sequence] = Pending(pending.delivery, since_s, written_s)
        self._check_pending_at(now_s + max(delay_s, _NAK_CHECK_S))

    def _progress(self, sequence: int) -> None:
        if (pending := self.state.pending.get(sequence)) is not None:
            self._changing()
            now_s = self._host.now_s()
            self.state.pending[sequence] = Pending(pending.delivery, now_s, self._as_written_s(self._host.now_ns()))

    def _raise_floor(self, delivery: int, sequence: int) -> None:
        state = self.state
        if not state.pending:
            self._raise_floor_to_all()
        elif delivery == state.floor_delivery + 1:
            state.floor_delivery, state.floor_sequence = delivery, sequence
            oldest = min((number for number in state.pending if number > sequence), default=0)
            if oldest:
                state.floor_delivery, state.floor_sequence = state.pending[oldest].delivery - 1, oldest - 1

    def _raise_floor_to_all(self) -> None:
        self.state.floor_delivery = self.state.next_delivery - 1
        self.state.floor_sequence = self.state.next_sequence - 1

    def _changing(self) -> None:
        now_s = self._host.now_s()
        self._disk.before_change(self.state, now_s)
        self._synced.before_change(self.state, now_s)

    def _as_written_s(self, time_ns: int) -> float:
        """The disk has whole seconds; and for a delivery the time of its message (nats-server 2.15, by test)."""
        whole_ns = time_ns // 1_000_000_000 * 1_000_000_000
        return self._host.now_s() - (self._host.now_ns() - whole_ns) / 1e9

    # -- time

    def _check_pending_at(self, when_s: float) -> None:
        if self._gone:
            return
        if self._pending_timer is not None:
            if self._pending_timer.when() <= when_s:
                return
            self._pending_timer.cancel()
        self._pending_timer = self._host.call_at(when_s, self._check_pending)

    def _check_pending(self) -> None:
        """Queues what waited for its answer for too long."""
        self._pending_timer = None
        now_s, next_s = self._host.now_s(), self.ack_wait_s + _GRACE_S
        late: list[int] = []
        for sequence in sorted(self.state.pending):
            left_s = self.state.pending[sequence].since_s + self.ack_wait_s - now_s
            if left_s > 1e-9:
                next_s = min(next_s, left_s)
            elif sequence not in self._again and not self._is_used_up(sequence):
                late.append(sequence)
        if late:
            moved_s = now_s - self.state.pending[late[0]].since_s
            for sequence in late:
                pending = self.state.pending[sequence]
                self.state.pending[sequence] = Pending(pending.delivery, pending.since_s + moved_s, pending.written_s)
                self._again[sequence] = None
        if self.state.pending:
            self._check_pending_at(now_s + next_s)
        else:
            self._again = {}
            self._raise_floor_to_all()
        self._run()

    def _is_used_up(self, sequence: int) -> bool:
        """As nats-server does it: found here only where one delivery is all there may be, and else at the next pull."""
        deliveries = max(1, self.state.redelivered.get(sequence, 1))
        if not 0 < self.deliveries_max <= deliveries:
            return False
        if deliveries == self.deliveries_max:
            self._advise_of(sequence, deliveries)
        self._changing()
        self.state.pending.pop(sequence, None)
        self.state.redelivered[sequence] = deliveries
        return True

    def _tend(self, *, at_end: bool) -> None:
        """Ends requests that are over and sends heartbeats to the others."""
        if not self.waiting or self._gone:
            return
        now_s, next_s = self._host.now_s(), None
        for request in list(self.waiting):
            if request.expires_s is not None and now_s >= request.expires_s:
                self.waiting.remove(request)
                self._expire(request)
            elif request.no_wait and at_end and (request.expires_s is None or request.delivered):
                self.waiting.remove(request)
                self._tell(request.reply, "404", "No Messages")
            elif not self._host.listens(request.reply):
                self.waiting.remove(request)
            else:
                if request.heartbeat_s and now_s >= request.next_heartbeat_s:
                    self._beat(request)
                    request.next_heartbeat_s = now_s + request.heartbeat_s
                for time_s in (request.expires_s, request.next_heartbeat_s if request.heartbeat_s else None):
                    if time_s is not None and (next_s is None or time_s < next_s):
                        next_s = time_s
        if next_s is not None:
            self._tend_at(next_s)

    def _tend_at(self, when_s: float) -> None:
        if self._requests_timer is not None:
            if self._requests_timer.when() <= when_s:
                return
            self._requests_timer.cancel()
        self._requests_timer = self._host.call_at(when_s, self._tend_again)

    def _tend_again(self) -> None:
        self._requests_timer = None
        self._run()

    # -- what it says of requests

    def _expire(self, request: Request) -> None:
        left = {"Nats-Pending-Messages": str(request.wanted), "Nats-Pending-Bytes": "0"}
        self._tell(request.reply, "408", "Request Timeout", left)

    def _beat(self, request: Request) -> None:
        last = {
            "Nats-Last-Consumer": str(self.state.next_delivery - 1),
            "Nats-Last-Stream": str(self.state.next_sequence - 1),
        }
        self._tell(request.reply, "100", "Idle Heartbeat", last)

    def _tell(self, reply: str, status: str, description: str, more: Headers | None = None) -> None:
        headers = {"Status": status, "Description": description, **(more or {})}
        self._host.send(reply, Kind.REPLY, reply, "", headers, b"")

    # -- bookkeeping

    def _read_config(self) -> None:
        subjects = self.config["filter_subjects"] or (
            [self.config["filter_subject"]] if self.config["filter_subject"] else [">"]
        )
        self._filters = frozenset(subject for subject in subjects if "*" not in subject and ">" not in subject)
        self._patterns = tuple(subject for subject in subjects if subject not in self._filters)
        self.ack_wait_s = self.config["ack_wait"] / 1e9
        self.deliveries_max: int = self.config["max_deliver"]

    def _count_unseen(self) -> None:
        following = self._stream.from_sequence(self.state.next_sequence)
        self.unseen = sum(self.takes(message.subject) for message in following)

    def _reconcile(self) -> None:
        """The stream may have lost more than the consumer, where a power cut took what was not synced."""
        state, last = self.state, self._stream.last_sequence
        if state.next_sequence <= last + 1:
            return
        if state.floor_sequence > last:
            state.floor_sequence, state.floor_delivery = last, max(0, state.next_delivery - 1)
            state.pending, state.redelivered = {}, {}
        state.pending = {sequence: found for sequence, found in state.pending.items() if sequence <= last}
        state.redelivered = {sequence: count for sequence, count in state.redelivered.items() if sequence <= last}
        newest = max(state.pending, default=0)
        state.next_sequence = (newest or state.floor_sequence) + 1
        state.next_delivery = (state.pending[newest].delivery if newest else state.floor_delivery) + 1
