"""Wakes those who wait for a change of one thing, by its key.

A waiter takes a `Watch` before it reads the state and waits after; a change in between is not missed. Changes that
come faster than a waiter reads are merged, so memory does not grow with a slow watcher.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator


class Changes:
    """Who waits for what. For use on one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)

    def changed(self, key: str) -> None:
        """Wakes all who watch `key`."""
        for event in self._waiting.get(key, ()):
            event.set()

    @contextlib.contextmanager
    def watch(self, key: str) -> Iterator[asyncio.Event]:
        """An event that is set at every change of `key`; the watcher clears it before it reads."""
        event = asyncio.Event()
        self._waiting[key].add(event)
        try:
            yield event
        finally:
            self._waiting[key].discard(event)
            if not self._waiting[key]:
                del self._waiting[key]
