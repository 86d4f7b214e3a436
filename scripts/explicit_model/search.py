"""Goes through all states that can be reached, breadth first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from scripts.explicit_model.case import Move, State

Moves = Callable[[State], Iterator[Move]]


@dataclass
class Search:
    """All states that moves lead to, in order of their distance from where it began."""

    moves: Moves
    before: dict[State, tuple[State, str] | None] = field(default_factory=dict)

    def reach(self, begin: Mapping[State, int]) -> Iterator[tuple[State, int, bool]]:
        """Each state once: with its distance, and whether anything can still change.

        `begin` has the distances of the states that it begins with.
        """
        levels: dict[int, list[State]] = {}
        for state, distance in begin.items():
            levels.setdefault(distance, []).append(state)
        distance = min(levels, default=0)
        while levels:
            for state in levels.pop(distance, []):
                self.before.setdefault(state, None)
                goes_on = False
                for label, after in self.moves(state):
                    if after == state:
                        continue
                    goes_on = True
                    if after not in self.before and begin.get(after, distance + 1) > distance:
                        self.before[after] = (state, label)
                        levels.setdefault(distance + 1, []).append(after)
                yield state, distance, goes_on
            distance += 1

    def trace(self, state: State) -> list[str]:
        """The moves that led to a state: as few as possible."""
        labels = []
        while (step := self.before[state]) is not None:
            state, label = step
            labels.append(label)
        return labels[::-1]

    def root(self, state: State) -> State:
        """Where the search for a state began."""
        while (step := self.before[state]) is not None:
            state = step[0]
        return state
