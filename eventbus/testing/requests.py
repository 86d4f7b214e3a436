"""Those who wait for messages of one consumer: whose turn it is, and what is said to them meanwhile.

A request ends when it got all that it asked for, without a word; when its time is over (408); where it does not want to
wait, when there is no more (404); when the consumer is deleted (409); and silently when nobody listens any more.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from eventbus.testing.host import Headers, Host
from eventbus.testing.link import Kind


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


class Requests:
    """The open requests, in the order in which they are answered."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._waiting: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, reply: str, asked: dict[str, Any], *, waiting_max: int, at_hand: int) -> bool:
        """Takes a request, or says why not; whether it waits now. `at_hand`: messages that could be delivered."""
        now_s = self._host.now_s()
        expires_s, heartbeat_s = asked.get("expires", 0) / 1e9, asked.get("idle_heartbeat", 0) / 1e9
        no_wait = bool(asked.get("no_wait"))
        if heartbeat_s * 2 > expires_s:
            self._tell(reply, "400", "Bad Request - heartbeat value too large")
        elif no_wait and not expires_s and not at_hand:
            self._tell(reply, "404", "No Messages")
        elif no_wait and 0 < at_hand < sum(request.wanted for request in self._waiting):
            self._tell(reply, "408", "Requests Pending")
        elif len(self._waiting) >= waiting_max:
            if not heartbeat_s:  # or one that asks again at once would do so for ever: it misses its heartbeats
                self._tell(reply, "409", "Exceeded MaxWaiting")
        else:
            until_s = now_s + expires_s if expires_s else None
            wanted = max(1, asked.get("batch", 1))
            self._waiting.append(Request(reply, wanted, until_s, heartbeat_s, now_s + heartbeat_s, no_wait))
            return True
        return False

    def next(self) -> Request | None:
        """The one whose turn it is to get a message."""
        now_s = self._host.now_s()
        while self._waiting:
            request = self._waiting.popleft()
            if request.expires_s is not None and now_s >= request.expires_s:
                self._expire(request)
            elif self._host.listens(request.reply):
                request.wanted -= 1
                request.delivered += 1
                if request.wanted:
                    request.next_heartbeat_s = now_s + request.heartbeat_s
                    self._waiting.append(request)
                return request
        return None

    def tend(self, *, at_end: bool) -> float | None:
        """Ends those that are over, sends heartbeats to the others, and says when to do so again.

        `at_end`: there is nothing to be delivered now.
        """
        now_s = self._host.now_s()
        times_s: list[float] = []
        for request in list(self._waiting):
            if request.expires_s is not None and now_s >= request.expires_s:
                self._waiting.remove(request)
                self._expire(request)
            elif request.no_wait and at_end and (request.expires_s is None or request.delivered):
                self._waiting.remove(request)
                self._tell(request.reply, "404", "No Messages")
            elif not self._host.listens(request.reply):
                self._waiting.remove(request)
            else:
                if request.expires_s is not None:
                    times_s.append(request.expires_s)
                if request.heartbeat_s:
                    times_s.append(request.next_heartbeat_s)
        return min(times_s, default=None)

    def beat(self, delivery: int, sequence: int) -> None:
        """Sends heartbeats to those whose time it is: the sequences delivered last, the consumer's and the stream's."""
        now_s = self._host.now_s()
        for request in self._waiting:
            if request.heartbeat_s and now_s >= request.next_heartbeat_s:
                last = {"Nats-Last-Consumer": str(delivery), "Nats-Last-Stream": str(sequence)}
                self._tell(request.reply, "100", "Idle Heartbeat", last)
                request.next_heartbeat_s = now_s + request.heartbeat_s

    def dismiss(self) -> None:
        """The consumer is deleted."""
        for request in self._waiting:
            self._tell(request.reply, "409", "Consumer Deleted")
        self.forget()

    def forget(self) -> None:
        """The broker is gone."""
        self._waiting.clear()

    def _expire(self, request: Request) -> None:
        left = {"Nats-Pending-Messages": str(request.wanted), "Nats-Pending-Bytes": "0"}
        self._tell(request.reply, "408", "Request Timeout", left)

    def _tell(self, reply: str, status: str, description: str, more: Headers | None = None) -> None:
        headers = {"Status": status, "Description": description, **(more or {})}
        self._host.send(reply, Kind.REPLY, reply, "", headers, b"")
