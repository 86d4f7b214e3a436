"""Takes a safeguard away: changes a line of the source while it is imported.

A mutant is text in place of text, so it reads as a change does, and what it takes away can be seen; one whose text is
no longer in the source, or more than once, cannot be made, and says so.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Edit:
    """One text in place of another, in a file of the repository."""

    file: str
    before: str
    after: str

    @property
    def module(self) -> str:
        """The name of the module that the file is."""
        return self.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def applied(self, source: str) -> str:
        """The source with it; raises LookupError."""
        if (found := source.count(self.before)) != 1:
            raise LookupError(f"{self.file} has {found} times, and not once: {self.before}")
        return source.replace(self.before, self.after)


@dataclass(frozen=True)
class Mutant:
    """A mesh without one of its safeguards."""

    name: str
    without: str  # what it lacks
    edits: tuple[Edit, ...]

    def sources(self) -> dict[str, str]:
        """The changed sources, by module; raises LookupError where they cannot be made."""
        sources: dict[str, str] = {}
        for edit in self.edits:
            sources[edit.module] = edit.applied(sources.get(edit.module) or (ROOT / edit.file).read_text())
        return sources


def mutate(mutant: Mutant) -> None:
    """Changes what this process imports from now on; raises LookupError, and RuntimeError where it is too late."""
    sources = mutant.sources()
    if imported := sources.keys() & sys.modules.keys():
        raise RuntimeError(f"too late: {', '.join(sorted(imported))} is imported already")
    sys.meta_path.insert(0, _Finder(sources))


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, sources: dict[str, str]) -> None:
        self._sources = sources

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._sources:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(fullname, spec.origin, self._sources[fullname])
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_data(self, path: str) -> bytes:
        return self._source.encode()

    def path_stats(self, path: str) -> Any:
        raise OSError("no compiled form of what stands in no file")
