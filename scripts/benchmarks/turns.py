"""Subjects in turns: floor, saga, floor, saga … What shakes the machine shakes neighbours alike.

So ratios are taken of neighbours, round by round; medians of rounds are what is shown, with their range.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from scripts.benchmarks.figures import Figures, Spread, ratio
from scripts.benchmarks.load import Round, measure
from scripts.benchmarks.processor import Spent


@dataclass(frozen=True)
class Subject:
    """What is measured in turns with others."""

    name: str
    once: Callable[[], Awaitable[object]]
    history: int = 0  # finished sagas that its orchestrator had run before

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.name} after {self.history:,}" if self.history else self.name


@dataclass(frozen=True)
class Turns:
    """What the subjects came to at one number in flight, round by round. The first is what others are compared with."""

    common: Mapping[str, str | int]  # what holds for all of them, by its name
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
        first = next(iter(self.rounds))
        for subject, rounds in self.rounds.items():
            yield f"{self._where():<6} {self.in_flight:>4}  {subject.title:<5} {Figures.of(rounds).text()}"
            if subject is not first:
                throughput, p50 = (spread.text(2) for spread in self._ratios(rounds))
                yield f"{'':13}{subject.title} / {first.title}: throughput {throughput}, p50 {p50}{remark}"

    def table(self) -> Iterator[str]:
        """Rows of a table in Markdown, whose head is HEAD: one for each subject beside the first."""
        (_, floor), *others = self.rounds.items()
        for subject, rounds in others:
            throughput, p50 = (spread.text(2) for spread in self._ratios(rounds))
            cells = (
                f"{self._where()}, {subject.title}".removeprefix(", "),
                self.in_flight,
                Figures.of(floor).cell(),
                Figures.of(rounds).cell(),
                throughput,
                p50,
            )
            yield f"| {' | '.join(map(str, cells))} |"

    def _where(self) -> str:
        return " ".join(map(str, self.common.values()))

    def _ratios(self, rounds: list[Round]) -> tuple[Spread, Spread]:
        """Throughput and p50 of a subject, by those of the first."""
        first = next(iter(self.rounds.values()))
        return (
            ratio([one.per_second for one in rounds], [one.per_second for one in first]),
            ratio([one.p50_ms for one in rounds], [one.p50_ms for one in first]),
        )


HEAD = (
    "| | in flight | floor: a second, p50, CPU | measured: a second, p50, CPU | throughput, ratio | p50, ratio |",
    "|---|---|---|---|---|---|",
)


async def take_turns(
    subjects: Sequence[Subject],
    *,
    common: Mapping[str, str | int],
    in_flight: int,
    rounds: int,
    seconds: float,
    spent: Callable[[], Spent],
) -> Turns:
    """Measures each subject once a round, for so many seconds."""
    turns = Turns(common, in_flight, {subject: [] for subject in subjects})
    for _ in range(rounds):
        for subject, measured in turns.rounds.items():
            measured.append(await measure(subject.once, in_flight=in_flight, seconds=seconds, spent=spent))
    return turns
