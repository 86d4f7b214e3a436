"""Throughput, drawn from the rows of a benchmark: medians as lines, and the range of each as a bar."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # files only, and no display
matplotlib.rcParams["svg.hashsalt"] = "ensemble"  # the same rows, the same file

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

Row = Mapping[str, Any]

# What tells the pictures of one benchmark apart, where it is not what they are drawn over.
BY = ("participants", "way", "sync", "styles", "services", "replicas", "in_flight")
INCHES = 4.5


def draw(file: Path, rows: Sequence[Row], x: str) -> None:
    """A picture for each combination of what is named in BY, side by side, all over `x`."""
    pictures: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        title = ", ".join(f"{name.replace('_', ' ')} {row[name]}" for name in BY if name in row and name != x)
        pictures[title].append(row)
    figure, all_axes = plt.subplots(
        1, len(pictures), squeeze=False, figsize=(INCHES * len(pictures), INCHES), layout="constrained"
    )
    for axes, (title, here) in zip(all_axes[0], pictures.items(), strict=True):
        _draw_one(axes, title, here, x)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)


def _draw_one(axes: Axes, title: str, rows: Sequence[Row], x: str) -> None:
    subjects: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        subjects[f"{row['subject']} after {row['history']:,}" if row["history"] else row["subject"]].append(row)
    for subject, its in subjects.items():
        its.sort(key=lambda row: row[x])
        medians = [row["per_second"] for row in its]
        below = [row["per_second"] - row["per_second_min"] for row in its]
        above = [row["per_second_max"] - row["per_second"] for row in its]
        axes.errorbar([row[x] for row in its], medians, yerr=[below, above], label=subject, marker="o", capsize=3)
    values = sorted({row[x] for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(values, [str(value) for value in values])
    axes.set_ylim(bottom=0)
    axes.set(title=title, xlabel=x.replace("_", " "), ylabel="a second")
    axes.grid(alpha=0.3)
    axes.legend()
