"""Subjects in turns: floor, saga, floor, saga … What shakes the machine shakes neighbours alike.

So ratios are taken of neighbours, round by round; medians of rounds are what is shown, with their range.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from scripts.benchmarks.figures import Figures, ratio
from scripts.benchmarks.load import Round, measure


@dataclass(frozen=True)
class Subject:
    """What is measured in turns with others."""

    name: str
    history: int  # finished sagas that its orchestrator had run before
    once: Callable[[], Awaitable[None]]

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.name} after {self.history:,}" if self.history else self.name


@dataclass(frozen=True)
class Turns:
    """What the subjects came to at one number in flight, round by round. The first is what others are compared with."""

    common: dict[str, str]  # what holds for all of them, by its name
    in_flight: int
    rounds: dict[Subject, list[Round]]

    def to_json(self) -> Iterator[dict[str, object]]:
        """An object for each subject."""
        for subject, rounds in self.rounds.items():
            yield {
                "subject": subject.name,
                **self.common,
                "in_flight": self.in_flight,
                "history": subject.history,
                **Figures.of(rounds).to_json(),
                "rounds": len(rounds),
            }

    def lines(self, remark: str = "") -> Iterator[str]:
        """For people."""
        (first, floor), *others = self.rounds.items()
        yield self._line(first, floor)
        for subject, rounds in others:
            throughput = ratio([one.per_second for one in rounds], [one.per_second for one in floor])
            p50 = ratio([one.p50_ms for one in rounds], [one.p50_ms for one in floor])
            yield self._line(subject, rounds)
            yield f"{'':13}{subject.title} / {first.title}: throughput {throughput.text(2)}, p50 {p50.text(2)}{remark}"

    def _line(self, subject: Subject, rounds: list[Round]) -> str:
        return (
            f"{' '.join(self.common.values()):<6} {self.in_flight:>4}  {subject.title:<5} {Figures.of(rounds).text()}"
        )


async def take_turns(
    subjects: Sequence[Subject], *, common: dict[str, str], in_flight: int, rounds: int, seconds: float
) -> Turns:
    """Measures each subject once a round, for so many seconds."""
    turns = Turns(common, in_flight, {subject: [] for subject in subjects})
    for _ in range(rounds):
        for subject, measured in turns.rounds.items():
            measured.append(await measure(subject.once, in_flight=in_flight, seconds=seconds))
    return turns
