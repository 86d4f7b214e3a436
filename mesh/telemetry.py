"""Structured logs, and the trace context that travels with calls and events.

Every line of a log is a JSON object; lines that belong to a saga carry its id. The trace context is W3C's
(https://www.w3.org/TR/trace-context/): we pass on what came, so that a tracer in front of or behind the mesh sees one
trace. Where none came, calls carry none (an engine's call costs a tenth more with it), and the events of a saga carry
one that follows from the saga's id, so that it is the same whoever publishes them. Spans are not recorded here:
OpenTelemetry's interceptors cost a third of the throughput, and can be added by whoever wants them.
"""

from __future__ import annotations

import hashlib
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


def enter_trace(traceparent: str) -> None:
    """Goes on with the caller's trace, for the current task; with what is none, nobody's."""
    match = _VALID.fullmatch(traceparent)
    resume_trace(f"{match[1]}-{match[2]}" if match else "")


def current_trace() -> str:
    """The trace of the current task, for `resume_trace`; empty where there is none."""
    return _current_trace.get()


def resume_trace(trace: str) -> None:
    """Goes on with a trace that another task had."""
    _current_trace.set(trace)


def traceparent(saga_id: str) -> str:
    """The current trace with a span of its own, for an event that goes out; where there is none, that of its saga."""
    trace = _current_trace.get() or f"{hashlib.blake2b(saga_id.encode(), digest_size=16).hexdigest()}-00"
    return _spanned(trace)


def metadata() -> tuple[tuple[str, str], ...] | None:
    """What a call that goes out carries of the current trace."""
    trace = _current_trace.get()
    return ((TRACEPARENT, _spanned(trace)),) if trace else None


def _spanned(trace: str) -> str:
    trace_id, _, flags = trace.partition("-")
    return f"00-{trace_id}-{random.getrandbits(64):016x}-{flags}"
