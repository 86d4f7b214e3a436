"""Durations as people write them: 30d, 36h, 90m, 45s."""

from __future__ import annotations

import re
from datetime import timedelta

import click

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_WRITTEN = re.compile(r"(\d{1,6})([dhms])")  # six digits: no more than the API's Duration takes


def duration(_ctx: click.Context, _param: click.Parameter, value: str | None) -> timedelta | None:
    """For an option's `callback`: the duration that was written, if any; wrong usage where it is none."""
    if value is None:
        return None
    found = _WRITTEN.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no duration; write a number and its unit: 30d, 36h, 90m or 45s")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
