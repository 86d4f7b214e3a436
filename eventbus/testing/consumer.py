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
from typing import Any

from eventbus.testing.consumer_state import Disk, Pending, State
from eventbus.testing.host import Alarm, Host
from eventbus.testing.link import Kind
from eventbus.testing.requests import Request, Requests
from eventbus.testing.stream import Stored, Stream
from eventbus.testing.subjects import matches

# nats-server waits a moment longer than it must, so that what ends together is treated together.
_GRACE_S = 0.001
_NAK_CHECK_S = 0.01
_MAX_DELIVERIES = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES"


class Consumer:
    """The state machine of one consumer. It lives in its broker's callbacks; nothing here waits."""

    def __init__(
        self, stream: Stream, config: dict[str, Any], created_ns: int, host: Host, synced_every_s: float
    ) -> None:
        self.name: str = config["durable_name"]
        self.created_ns = created_ns
        self.requests = Requests(host)
        self.unseen = 0  # messages for it that were never delivered
        self._stream = stream
        self._host = host
        self._synced_every_s = synced_every_s
        self._again: dict[int, None] = {}  # queued to be delivered again, in this order
        self._gone = False
        self._requests_alarm = Alarm(host, self._run)
        self._pending_alarm = Alarm(host, self._check_pending)
        self._read(config)
        self.reset()

    # -- what others do to it

    def reset(self) -> None:
        """Starts over from the first message that the stream has."""
        first = max(1, self._stream.first_sequence)
        self.state = State(next_sequence=first, delivered_sequence=first - 1, floor_sequence=first - 1)
        self._again = {}
        self._disk = Disk(self.state, self._synced_every_s, self._host.now_s())
        self._count_unseen()
        self._run()

    def follow(self, before: Consumer) -> None:
        """Begins behind all that another one had delivered, answered or not."""
        self.state.next_sequence = before.state.next_sequence
        self.state.delivered_sequence = before.state.delivered_sequence
        self._disk.write(self.state, self._host.now_s())
        self._count_unseen()

    def update(self, config: dict[str, Any]) -> None:
        """Takes another configuration; the position is kept, and who waits already gets what comes from now on."""
        self._read(config)
        self._count_unseen()

    def stored(self, message: Stored) -> None:
        """The stream has a new message."""
        if self.takes(message.subject):
            self.unseen += 1
            self._run()

    def removed(self, message: Stored) -> None:
        """The stream lost one message: it is answered, where its subject is one of the consumer's."""
        if not self.takes(message.subject):
            return
        if message.sequence < self.state.next_sequence:
            self._acknowledge(message.sequence)
        else:
            self.unseen -= 1

    def purged(self) -> None:
        """The stream lost all messages. Who waits goes on waiting."""
        self.state.delivered_sequence = self._stream.last_sequence
        self.state.next_sequence = self._stream.last_sequence + 1
        self.state.pending, self.state.redelivered, self._again, self.unseen = {}, {}, {}, 0
        self.state.settle_all()
        self._disk.write(self.state, self._host.now_s())

    def pull(self, reply: str, asked: dict[str, Any]) -> None:
        """Takes a request for messages."""
        at_hand = self.unseen + len(self._again)
        if self.requests.add(reply, asked, waiting_max=self.config["max_waiting"], at_hand=at_hand):
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
        self.requests.dismiss()

    def halt(self) -> None:
        """Stops, without a word: the broker is gone."""
        self._gone = True
        self._requests_alarm.stop()
        self._pending_alarm.stop()

    def lose_memory(self, *, power_cut: bool) -> None:
        """The broker was killed: only what its disk has is left."""
        self.state = self._disk.read(self.state, self._host.now_s(), power_cut=power_cut)

    def recover(self) -> None:
        """The broker starts again."""
        self.state.recover(self._stream.first_sequence, self._stream.last_sequence)
        self._again = {}
        self.requests.forget()
        self._gone = False
        self._disk.write(self.state, self._host.now_s())
        self._count_unseen()
        if self.state.pending:
            soon_s = min(self._host.after_recovery_s(), self.ack_wait_s + _GRACE_S)
            self._pending_alarm.set(self._host.now_s() + soon_s)

    def takes(self, subject: str) -> bool:
        """Whether messages of a subject are for it."""
        return subject in self._subjects or any(matches(pattern, subject) for pattern in self._patterns)

    # -- deliveries

    def _run(self) -> None:
        """Delivers what there is to those who asked, and looks after those who go on waiting."""
        while self.requests and not self._gone:
            found = self._next_message()
            if found is None:
                break
            message, deliveries = found
            request = self.requests.next()
            if request is None:
                self._put_back(message, deliveries)
                break
            self._deliver(request, message, deliveries)
        if self.requests and not self._gone:
            self.requests.beat(self.state.next_delivery - 1, self.state.next_sequence - 1)
            if (next_s := self.requests.tend(at_end=not self._is_held_back())) is not None:
                self._requests_alarm.set(next_s)

    def _is_held_back(self) -> bool:
        return not self._again and 0 < self.config["max_ack_pending"] <= len(self.state.pending)

    def _next_message(self) -> tuple[Stored, int] | None:
        """The next message, and which delivery of it this is."""
        state = self.state
        while self._again:
            sequence = next(iter(self._again))
            del self._again[sequence]
            deliveries = state.redelivered.get(sequence, 0) + 2
            self._changing()
            if 0 < self.config["max_deliver"] < deliveries:
                self._use_up(sequence, deliveries)
            elif (message := self._stream.messages.get(sequence)) is None:
                self._forget(sequence)
            else:
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
            return
        self._again[message.sequence] = None
        self.state.redelivered[message.sequence] -= 1
        if not self.state.redelivered[message.sequence]:
            del self.state.redelivered[message.sequence]

    def _deliver(self, request: Request, message: Stored, deliveries: int) -> None:
        state, now_s = self.state, self._host.now_s()
        sequence, delivery = message.sequence, state.next_delivery
        state.next_delivery += 1
        state.delivered_sequence = max(state.delivered_sequence, sequence)
        first = state.pending[sequence].delivery if sequence in state.pending else delivery
        state.pending[sequence] = Pending(first, now_s, self._as_written_s(message.time_ns))
        self._pending_alarm.set(now_s + self.ack_wait_s + _GRACE_S)
        reply = (
            f"$JS.ACK.{self._stream.name}.{self.name}.{deliveries}.{sequence}.{delivery}."
            f"{message.time_ns}.{max(0, self.unseen)}"
        )
        headers = None if message.headers is None else dict(message.headers)
        self._host.send(request.reply, Kind.DELIVERY, message.subject, reply, headers, message.body)

    def _use_up(self, sequence: int, deliveries: int) -> None:
        """A message was delivered as often as it may be: that is said once, and then no more of it."""
        if deliveries == self.config["max_deliver"] + 1:
            self._advise_of(sequence)
        self.state.redelivered[sequence] = deliveries - 1
        self.state.settle(sequence)

    def _advise_of(self, sequence: int) -> None:
        self._host.advise(
            f"{_MAX_DELIVERIES}.{self._stream.name}.{self.name}",
            type="io.nats.jetstream.advisory.v1.max_deliver",
            stream=self._stream.name,
            consumer=self.name,
            stream_seq=sequence,
            deliveries=self.config["max_deliver"],
        )

    # -- answers

    def _acknowledge(self, sequence: int) -> None:
        held_back = self._is_held_back()
        self._changing()
        self._forget(sequence)
        if held_back:
            self._run()

    def _forget(self, sequence: int) -> None:
        self.state.forget(sequence)
        self._again.pop(sequence, None)

    def _refuse(self, sequence: int, delivery: int, options: bytes) -> None:
        pending = self.state.pending.get(sequence)
        if pending is None or not self.state.floor_delivery < delivery <= self.state.next_delivery:
            return
        delay_s = json.loads(options)["delay"] / 1e9 if options else 0.0
        if not delay_s:
            self._again[sequence] = None
            self._run()
            return
        self._again.pop(sequence, None)
        self._wait_from(sequence, pending, self._host.now_s() - self.ack_wait_s + delay_s)
        self._pending_alarm.set(self._host.now_s() + max(delay_s, _NAK_CHECK_S))

    def _progress(self, sequence: int) -> None:
        if (pending := self.state.pending.get(sequence)) is not None:
            self._wait_from(sequence, pending, self._host.now_s())

    def _wait_from(self, sequence: int, pending: Pending, since_s: float) -> None:
        self._changing()
        ago_ns = int((self._host.now_s() - since_s) * 1e9)
        written_s = self._as_written_s(self._host.now_ns() - ago_ns)
        self.state.pending[sequence] = Pending(pending.delivery, since_s, written_s)

    def _changing(self) -> None:
        self._disk.before_change(self.state, self._host.now_s())

    # -- time

    def _check_pending(self) -> None:
        """Queues what waited for its answer for too long."""
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
                found = self.state.pending[sequence]
                self.state.pending[sequence] = Pending(found.delivery, found.since_s + moved_s, found.written_s)
                self._again[sequence] = None
        if self.state.pending:
            self._pending_alarm.set(now_s + next_s)
        else:
            self._again = {}
            self.state.settle_all()
        self._run()

    def _is_used_up(self, sequence: int) -> bool:
        """nats-server finds that here only where one delivery is all there may be, and else at the next pull."""
        if self.config["max_deliver"] != 1:
            return False
        if sequence not in self.state.redelivered:
            self._advise_of(sequence)
        self._changing()
        self.state.pending.pop(sequence, None)
        self.state.redelivered[sequence] = 1
        return True

    # -- bookkeeping

    def _as_written_s(self, time_ns: int) -> float:
        """The disk has whole seconds; and for a delivery the time of its message (nats-server 2.15, by test)."""
        whole_ns = time_ns // 1_000_000_000 * 1_000_000_000
        return self._host.now_s() - (self._host.now_ns() - whole_ns) / 1e9

    def _read(self, config: dict[str, Any]) -> None:
        self.config = config
        self.ack_wait_s: float = config["ack_wait"] / 1e9
        subjects: list[str] = config["filter_subjects"] or [config["filter_subject"] or ">"]
        self._subjects = frozenset(subject for subject in subjects if "*" not in subject and ">" not in subject)
        self._patterns = [subject for subject in subjects if subject not in self._subjects]

    def _count_unseen(self) -> None:
        following = self._stream.from_sequence(self.state.next_sequence)
        self.unseen = sum(self.takes(message.subject) for message in following)
