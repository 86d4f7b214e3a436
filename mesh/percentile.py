"""One percentile, so that all figures mean the same by it."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The measured value that the share of the others (0.99: of a hundred, 99) does not exceed; of none, nan.

    The nearest rank, and no interpolation as by `statistics.quantiles`: a p99 is then something that happened.
    """
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else float("nan")
