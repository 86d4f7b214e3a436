"""What the parts of the broker need of the whole."""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any, Protocol

from eventbus.testing.link import Kind

Headers = dict[str, str]


class Host(Protocol):
    """The broker, as its consumers see it."""

    def now_s(self) -> float:
        """The event loop's time."""

    def now_ns(self) -> int:
        """The time that is written down, in nanoseconds since the epoch."""

    def call_at(self, when_s: float, callback: Callable[[], object]) -> TimerHandle:
        """Calls back at a time of the event loop."""

    def send(self, to: str, kind: Kind, subject: str, reply: str, headers: Headers | None, body: bytes) -> bool:
        """Sends a message to those who listen to the subject `to`; whether there are any."""

    def listens(self, subject: str) -> bool:
        """Whether anybody does."""

    def advise(self, subject: str, **said: Any) -> None:
        """Publishes an advisory."""

    def after_recovery_s(self) -> float:
        """How long a broker that starts again waits before it looks at what was pending."""


class Alarm:
    """A timer that rings once, at the earliest of the times that it was set to."""

    def __init__(self, host: Host, ring: Callable[[], None]) -> None:
        self._host = host
        self._ring = ring
        self._timer: TimerHandle | None = None

    def set(self, when_s: float) -> None:
        """To a time of the event loop."""
        if self._timer is not None:
            if self._timer.when() <= when_s:
                return
            self._timer.cancel()
        self._timer = self._host.call_at(when_s, self._due)

    def stop(self) -> None:
        """It does not ring any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        self._ring()
