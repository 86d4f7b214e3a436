"""Subjects: tokens between dots. In a pattern `*` stands for one token, and `>` for one or more at the end."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Generic, TypeVar

T = TypeVar("T")


@lru_cache(maxsize=65_536)
def matches(pattern: str, subject: str) -> bool:
    """Whether a pattern takes a subject."""
    if pattern == subject or pattern == ">":
        return True
    wanted, found = pattern.split("."), subject.split(".")
    for index, token in enumerate(wanted):
        if token == ">":
            return index < len(found)
        if index >= len(found) or token not in ("*", found[index]):
            return False
    return len(wanted) == len(found)


def collide(one: str, other: str) -> bool:
    """Whether there is a subject that two patterns take both."""
    left, right = one.split("."), other.split(".")
    for mine, theirs in zip(left, right, strict=False):
        if ">" in (mine, theirs):
            return True
        if "*" not in (mine, theirs) and mine != theirs:
            return False
    return len(left) == len(right)


class Interest(Generic[T]):
    """Who wants which subjects, in the order in which they said so."""

    def __init__(self) -> None:
        self._exact: dict[str, list[T]] = {}
        self._below: dict[str, list[T]] = {}  # patterns that end in their only wildcard, `*`: inboxes
        self._others: list[tuple[str, T]] = []

    def add(self, pattern: str, who: T) -> None:
        """From now on."""
        if (book := self._book(pattern)) is not None:
            book[0].setdefault(book[1], []).append(who)
        else:
            self._others.append((pattern, who))

    def remove(self, pattern: str, who: T) -> None:
        """From now on no more."""
        if (book := self._book(pattern)) is not None:
            book[0][book[1]].remove(who)
            if not book[0][book[1]]:
                del book[0][book[1]]
        else:
            self._others.remove((pattern, who))

    def of(self, subject: str) -> Iterator[T]:
        """All who want a subject."""
        yield from self._exact.get(subject, ())
        yield from self._below.get(subject.rpartition(".")[0], ())
        for pattern, who in self._others:
            if matches(pattern, subject):
                yield who

    def _book(self, pattern: str) -> tuple[dict[str, list[T]], str] | None:
        parent, _, last = pattern.rpartition(".")
        if "*" in parent or last == ">":
            return None
        return (self._below, parent) if last == "*" else (self._exact, pattern)
