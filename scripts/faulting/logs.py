"""What the parts' logs say that nobody handled."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping


def unhandled(logs: Mapping[str, str]) -> Iterator[str]:
    """What nobody handled in the logs of parts, by name: an error with its traceback, a quarrel about keepalive."""
    for name, log in logs.items():
        if "too_many_pings" in log:
            yield f"{name}: client and server disagree about keepalive"
        for line in log.splitlines():
            if line.startswith("{") and line.endswith("}"):  # a kill may have cut one short
                entry = json.loads(line)
                if entry["levelname"] in ("ERROR", "CRITICAL") and "exc_info" in entry:
                    yield f"{name} logged what nobody handled: {line[:4000]}"
