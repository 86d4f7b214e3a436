"""The ten rules of a participant. Where a rule says two things, each can be taken out by itself."""

from __future__ import annotations

from enum import Enum


class Rule(Enum):
    """A rule, in the words of its sentence; `number` is the rule's in the documentation."""

    TOMBSTONES_SPEAK = (1, "a step refused by its tombstone publishes its `refuses` event when an event triggered it")
    COMPENSATIONS_SUCCEED = (2, "a compensation answers OK and emits, whatever became of its step")
    ABORT_FIRST = (3, "compensations are called only after the aborting method answered OK")
    COMPENSATE_ALL = (3, "before a case is closed every compensatable method is compensated, started or not")
    FOLLOW_THE_WINNER = (4, "an engine whose aborting method lost forgets the cancellation and goes forward")
    ARRIVALS_ARE_FACTS = (5, "a join that is complete is triggered again by every further arrival")
    ONLY_OUTCOMES = (6, "only outcomes are recorded, technical errors never are")
    TOMBSTONES_MATCH = (7, "a tombstone matches any request")
    ANSWERS_STAY = (7, "a step that was done and later compensated keeps its recorded answer")
    ONE_REQUEST = (8, "a method with several triggers takes a request that all of them build identically")
    RECORD_CHANGES_NOTHING = (9, "RecordOrder never changes an existing row")
    CANCELLATIONS_ARE_DURABLE = (10, "a cancellation is durable before it is acknowledged")
    WATCH_BOTH_SIDES = (10, "the watch for stalled cases covers CONFIRMED and CANCELLED ones, not only PENDING")

    @property
    def number(self) -> int:
        """1 to 10."""
        return self.value[0]

    @property
    def sentence(self) -> str:
        """What the rule says."""
        return self.value[1]


ALL = frozenset(Rule)
