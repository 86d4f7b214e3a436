"""What a consumer knows of its messages, and what of it a broker that was killed finds on its disk again.

nats-server writes a consumer's state behind: at once after a quiet moment, and at most every WRITTEN_EVERY_S. So what
happened in the last tenth of a second may be gone after a kill, and then what was acknowledged in it comes again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

WRITTEN_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Pending:
    """A message that was delivered and not answered yet. Times are the event loop's, in seconds."""

    delivery: int  # the consumer sequence of its first delivery
    since_s: float  # the ack wait runs from here
    written_s: float  # and from here, once the broker has read its disk


@dataclass(slots=True)
class State:
    """Sequences of the stream and of the consumer's own deliveries, as nats-server counts them."""

    next_sequence: int = 1  # the first one never looked at
    delivered_sequence: int = 0  # the last one delivered, or purged: here it goes on after a kill
    next_delivery: int = 1
    floor_sequence: int = 0  # up to here everything is answered
    floor_delivery: int = 0
    pending: dict[int, Pending] = field(default_factory=dict)
    redelivered: dict[int, int] = field(default_factory=dict)  # how often beyond the first time

    def copy(self) -> State:
        """As of now."""
        return replace(self, pending=dict(self.pending), redelivered=dict(self.redelivered))

    def settle(self, sequence: int) -> None:
        """A message is not pending any more."""
        pending = self.pending.pop(sequence, None)
        if pending is None:
            return
        if not self.pending:
            self.settle_all()
        elif pending.delivery == self.floor_delivery + 1:
            self.floor_delivery, self.floor_sequence = pending.delivery, sequence
            if oldest := min((number for number in self.pending if number > sequence), default=0):
                self.floor_delivery, self.floor_sequence = self.pending[oldest].delivery - 1, oldest - 1

    def settle_all(self) -> None:
        """Nothing is pending."""
        self.floor_delivery, self.floor_sequence = self.next_delivery - 1, self.next_sequence - 1

    def forget(self, sequence: int) -> None:
        """A message is answered."""
        self.settle(sequence)
        self.redelivered.pop(sequence, None)

    def recover(self, first_sequence: int, last_sequence: int) -> None:
        """What a broker that starts again makes of what its disk had, and of what the stream still has."""
        self.next_sequence = self.delivered_sequence + 1
        for sequence, found in self.pending.items():
            self.pending[sequence] = replace(found, since_s=found.written_s)
        for sequence in [number for number in self.pending if number < first_sequence]:
            self.forget(sequence)
        if self.next_sequence > last_sequence + 1:
            self._go_back(last_sequence)

    def _go_back(self, last_sequence: int) -> None:
        """A power cut took more of the stream than of this."""
        if self.floor_sequence > last_sequence:
            self.floor_sequence, self.floor_delivery = last_sequence, max(0, self.next_delivery - 1)
            self.pending, self.redelivered = {}, {}
        self.pending = {number: found for number, found in self.pending.items() if number <= last_sequence}
        self.redelivered = {number: times for number, times in self.redelivered.items() if number <= last_sequence}
        newest = max(self.pending, default=0)
        self.delivered_sequence = newest or self.floor_sequence
        self.next_sequence = self.delivered_sequence + 1
        self.next_delivery = (self.pending[newest].delivery if newest else self.floor_delivery) + 1


class Disk:
    """What is left of a state after a kill, and after a power cut."""

    def __init__(self, state: State, synced_every_s: float, now_s: float) -> None:
        self._written = WriteBehind(state, WRITTEN_EVERY_S, now_s)
        self._synced = WriteBehind(state, synced_every_s, now_s) if synced_every_s else self._written

    def before_change(self, state: State, now_s: float) -> None:
        """To be called before every change of the state."""
        self._written.before_change(state, now_s)
        if self._synced is not self._written:
            self._synced.before_change(state, now_s)

    def read(self, state: State, now_s: float, *, power_cut: bool) -> State:
        """What it has, where the state in memory is this one."""
        return (self._synced if power_cut else self._written).read(state, now_s)

    def write(self, state: State, now_s: float) -> None:
        """Writes all, at once."""
        self._written.write(state, now_s)
        self._synced.write(state, now_s)


class WriteBehind:
    """The state on a disk that is written at most every `period_s`.

    There is no timer and no copy for each change: what the disk would have by now is settled when it is asked for.
    """

    def __init__(self, state: State, period_s: float, now_s: float) -> None:
        self._written = state.copy()
        self._period_s = period_s
        self._wrote_s = now_s - period_s
        self._due_s: float | None = None  # when the changes so far are written; None: there are none

    def before_change(self, state: State, now_s: float) -> None:
        """As Disk."""
        self._catch_up(state, now_s)
        if self._due_s is None:
            self._due_s = max(now_s, self._wrote_s + self._period_s)

    def read(self, state: State, now_s: float) -> State:
        """As Disk."""
        self._catch_up(state, now_s)
        return self._written.copy()

    def write(self, state: State, now_s: float) -> None:
        """As Disk."""
        self._written, self._wrote_s, self._due_s = state.copy(), now_s, None

    def _catch_up(self, state: State, now_s: float) -> None:
        if self._due_s is not None and now_s > self._due_s:
            self.write(state, self._due_s)
