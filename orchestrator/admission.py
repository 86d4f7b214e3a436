"""How many sagas run at once, and how many wait behind them.

What is admitted is durable already and owned by this orchestrator; it waits here only for its turn. So memory is
bounded by `running_max` runs and `queue_max` waiting journals, whatever is asked for.
"""

from __future__ import annotations

from collections import OrderedDict

from mesh.errors import Overloaded
from orchestrator.journal import Journal

RETRY_AFTER_S = 0.5
# Sagas that are due (recovered, woken) get on even where starts keep all places taken.
DUE_ALWAYS = 8


class Admission:
    """Counts. For use on one event loop."""

    def __init__(self, running_max: int, queue_max: int) -> None:
        self._running_max = running_max
        self._queue_max = queue_max
        self._starting = 0
        self._queue: OrderedDict[str, Journal] = OrderedDict()

    def reserve(self, running: int) -> None:
        """A place for a saga that is about to be written; raises Overloaded. `release` gives it back."""
        self.ensure_a_place(running)
        self._starting += 1

    def ensure_a_place(self, running: int) -> None:
        """Raises Overloaded where no saga could be started now."""
        if running + self._starting + len(self._queue) >= self._running_max + self._queue_max:
            raise Overloaded(
                f"{self._running_max} sagas run and {self._queue_max} wait, as many as may; try again", RETRY_AFTER_S
            )

    def release(self) -> None:
        """The saga is written, or is not going to be."""
        self._starting -= 1

    def has_room(self, running: int) -> bool:
        """Whether one more may run now."""
        return running < self._running_max

    def room_for_due(self, running: int) -> int:
        """How many sagas that are due may begin to run now."""
        return max(self._running_max - running, DUE_ALWAYS if running < self._running_max + DUE_ALWAYS else 0)

    def wait(self, journal: Journal) -> None:
        """Queues a saga behind those that run."""
        self._queue[journal.saga_id] = journal

    def next(self) -> Journal | None:
        """The saga whose turn it is."""
        return self._queue.popitem(last=False)[1] if self._queue else None

    def find(self, saga_id: str) -> Journal | None:
        """A saga that waits."""
        return self._queue.get(saga_id)

    def remove(self, saga_id: str) -> None:
        """Takes a saga out that somebody takes care of."""
        self._queue.pop(saga_id, None)
