"""Structured logs, and the trace context that travels with calls and events.

Every line of a log is a JSON object; lines that belong to a saga carry its id. The trace context is W3C's
(https://www.w3.org/TR/trace-context/): we pass it on and start one where none came, so that a tracer in front of
or behind the mesh sees one trace. Spans are not recorded here: OpenTelemetry's interceptors cost a third of the
throughput, and can be added by whoever wants them.
"""

from __future__ import annotations

import logging
import random
import re
import sys
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter

TRACEPARENT = "traceparent"

current_saga: ContextVar[str] = ContextVar("saga_id", default="")
_current_trace: ContextVar[str] = ContextVar("trace", default="")

_VALID = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})")


def configure_logging(part: str, level: str = "INFO") -> None:
    """Sends this process's log to its standard error, one JSON object a line."""

    def add_context(record: logging.LogRecord) -> bool:
        record.part = part
        if saga_id := current_saga.get():
            record.saga_id = saga_id
        return True

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter("{asctime}{levelname}{name}{message}", style="{"))
    handler.addFilter(add_context)
    logging.basicConfig(level=level, handlers=[handler], force=True)


def enter_trace(traceparent: str | None) -> None:
    """Goes on with the caller's trace, or begins one, for the current task."""
    match = _VALID.fullmatch(traceparent or "")
    trace_id, flags = match.groups() if match else (f"{random.getrandbits(128):032x}", "00")
    _current_trace.set(f"{trace_id}-{flags}")


def traceparent() -> str:
    """The current trace with a span of its own, for a call or an event that goes out."""
    if not _current_trace.get():
        enter_trace(None)
    trace_id, _, flags = _current_trace.get().partition("-")
    return f"00-{trace_id}-{random.getrandbits(64):016x}-{flags}"
