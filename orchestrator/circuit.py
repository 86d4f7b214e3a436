"""Sends nothing to a participant that does not answer, until one probe finds it back.

    CLOSED ── so many calls in a row without an answer ─▶ OPEN ── a growing, jittered delay ─▶ HALF_OPEN
       ▲                                                   ▲                                     │  │
       │                                                   └─────── the probe got no answer ─────┘  │
       └──────────────────────────── the probe was answered ───────────────────────────────────────┘

    any state ── "I am overloaded" ─▶ PAUSED ── the delay that the participant asks for ─▶ CLOSED

The circuit breaker is Michael Nygard's (Release It!, 2007). This one differs in what happens to the calls that meet
it: they wait, they do not fail. A participant that is away for minutes costs its sagas time, and not one of them is
compensated for it.

When it is back, those who waited are let go as a TCP connection begins (slow start, RFC 5681): each answer lets two
more go, so the load doubles with every round trip for as long as the participant keeps up. A thousand are on their
way after ten round trips, and no herd tramples a process that has just started.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
import logging
import random
from collections import OrderedDict

from mesh.backoff import Backoff

log = logging.getLogger(__name__)

FAILURES_MAX = 5

# Short, so that a participant that is back is found within about a second; and a probe that cannot connect waits
# inside gRPC, which tries every half second by itself (mesh.channel).
DELAYS = Backoff(first_s=0.1, max_s=1.0)


class State(enum.Enum):
    """Whether calls are sent."""

    CLOSED = "sent"
    OPEN = "none is sent"
    HALF_OPEN = "one is sent, the probe"
    PAUSED = "none is sent: the participant is alive and asked for it"


class Circuit:
    """The way to one participant. Belongs to one event loop, whose time it goes by.

    A call enters, and says how it ended: `answered`, `failed`, `overloaded` or `abandoned`. Each end of a call lets
    others go, so whoever waits is either waited for by a timer or follows a call that is under way.
    """

    def __init__(
        self,
        name: str,
        failures_max: int = FAILURES_MAX,
        delays: Backoff = DELAYS,
        rng: random.Random | None = None,
    ) -> None:
        self.closed = True  # the same as `state is CLOSED`; read before each call of each saga
        self.state = State.CLOSED
        self.why = ""  # why it is not closed
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._failures_max = failures_max
        self._delays = delays
        self._rng = rng
        self._failures = 0  # in a row, while closed
        self._openings = 0  # in a row, without an answer in between
        self._probe = 0  # the number of the probe that is under way; 0: none
        self._numbers = itertools.count(1)
        self._waiting: OrderedDict[asyncio.Future[int], None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self) -> int:
        """Returns once a call may be sent: the probe's number, or 0 for any other. Cancelled, it has not entered."""
        if self.closed:
            return 0
        if self.state is State.HALF_OPEN and not self._probe:
            self._probe = next(self._numbers)
            return self._probe
        waiter: asyncio.Future[int] = self._loop.create_future()
        self._waiting[waiter] = None
        try:
            return await waiter
        except asyncio.CancelledError:
            self._waiting.pop(waiter, None)
            if not waiter.cancelled():  # it was let go in the same moment
                self.abandoned(waiter.result())
            raise

    def answered(self) -> None:
        """A call was answered, with whatever: the participant is there."""
        self._failures = 0
        if self.closed:
            if self._waiting:
                self._let_go(2)
        elif self.state is not State.PAUSED:  # which is for the participant to say, and it has said until when
            self._close()
            self._let_go(2)

    def failed(self, error: str, probe: int = 0) -> None:
        """A call got no answer, for what `error` says."""
        if self.closed:
            self._failures += 1
            if self._failures >= self._failures_max:
                self._open(error)
                log.warning("%s; its calls wait until it does", self.why)
            else:
                self._let_go(1)
        elif probe and probe == self._probe:
            self._open(error)
        # Else it was sent before the circuit opened, and tells nothing new.

    def overloaded(self, delay_s: float, error: str) -> None:
        """The participant asks not to be called for so many seconds."""
        self._failures = self._openings = 0
        if self.state is State.PAUSED and self._timer and self._timer.when() >= self._loop.time() + delay_s:
            return
        self._shut(State.PAUSED, delay_s, f"{self._name} is overloaded ({error})")

    def abandoned(self, probe: int = 0) -> None:
        """The caller gave a call up: that says nothing of the participant, but others must not wait for its end."""
        if self.closed:
            self._let_go(1)
        elif probe and probe == self._probe:
            self._half_open()

    def _open(self, error: str) -> None:
        self._openings += 1
        delay_s = self._delays.delay_s(self._openings, self._rng)
        # What opened it says more than a probe that waited for a connection in vain.
        why = f"{self._name} does not answer ({error})" if self._openings == 1 else self.why
        self._shut(State.OPEN, delay_s, why)

    def _shut(self, state: State, delay_s: float, why: str) -> None:
        self.state, self.closed, self.why = state, False, why
        self._probe = 0
        self._stop_timer()
        self._timer = self._loop.call_later(delay_s, self._due)

    def _due(self) -> None:
        self._timer = None
        if self.state is State.OPEN:
            self._half_open()
        else:
            self._close()
            self._let_go(1)

    def _half_open(self) -> None:
        """The next one who waits is the probe; where nobody waits, the next one who comes."""
        self.state = State.HALF_OPEN
        self._probe = 0
        if (waiter := self._next()) is not None:
            self._probe = next(self._numbers)
            waiter.set_result(self._probe)

    def _close(self) -> None:
        if self._openings:
            log.info("%s answers again; %d calls go on", self._name, len(self._waiting))
        self.state, self.closed, self.why = State.CLOSED, True, ""
        self._failures = self._openings = self._probe = 0
        self._stop_timer()

    def _let_go(self, count: int) -> None:
        for _ in range(count):
            if (waiter := self._next()) is not None:
                waiter.set_result(0)

    def _next(self) -> asyncio.Future[int] | None:
        while self._waiting:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():  # else cancelled, and about to say so
                return waiter
        return None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
