"""The report of a long run, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scripts.faulting.result import Result, counted

HEAD = (
    "| fault | result | orders | ended | cancelled | what happened | delay, median | worst | the audit |",
    "|---|---|---|---|---|---|---|---|---|",
)


def markdown(results: Iterable[Result], machine: str, command: str) -> str:
    """A table with a row for each fault, and below it what did not hold."""
    return "\n".join([f"`{command}`, on {machine}", "", *HEAD, *(line for one in results for line in _lines(one)), ""])


def _lines(result: Result) -> Iterator[str]:
    if result.missing:
        yield f"| {result.name} | {result.verdict}: {result.missing} | | | | | | | |"
        return
    yield (
        f"| {result.name} | {result.verdict} | {result.orders} | {counted(result.ends)} | {counted(result.verdicts)} "
        f"| {counted(result.happened)} | {result.median_delay_s:.1f} s | {result.worst_delay_s:.1f} s "
        f"| {'; '.join(result.faults) or 'exact'} |"
    )
