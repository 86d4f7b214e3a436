"""A trace that came is passed on; where none came calls carry none, and the events of a saga still share one."""

from __future__ import annotations

from contextvars import copy_context

import pytest

from mesh import telemetry

TRACE = "0af7651916cd43dd8448eb211c80319c"
CAME = f"00-{TRACE}-b7ad6b7169203331-01"


def after(came: str) -> tuple[str, tuple[tuple[str, str], ...] | None]:
    """What an event and a call carry, in a task that was entered with this."""

    def enter() -> tuple[str, tuple[tuple[str, str], ...] | None]:
        telemetry.enter_trace(came)
        return telemetry.traceparent("saga-1"), telemetry.metadata()

    return copy_context().run(enter)


def test_what_came_goes_on_with_a_span_of_its_own() -> None:
    event, call = after(CAME)
    assert call is not None
    ((name, called),) = call
    assert name == "traceparent"
    for passed_on in (event, called):
        version, trace, span, flags = passed_on.split("-")
        assert (version, trace, flags) == ("00", TRACE, "01")
        assert span != "b7ad6b7169203331"


@pytest.mark.parametrize("came", ["", "nonsense", CAME.upper(), f"{CAME}-more"])
def test_where_none_came_calls_carry_none_and_events_that_of_their_saga(came: str) -> None:
    event, call = after(came)
    assert call is None
    _, trace, span, flags = event.split("-")
    _, another, another_span, _ = after(came)[0].split("-")
    assert (len(trace), len(span), flags) == (32, 16, "00")
    assert (another, another_span != span) == (trace, True)
    assert telemetry.traceparent("saga-2").split("-")[1] != trace


def test_a_task_can_go_on_with_the_trace_of_another() -> None:
    def theirs() -> str:
        telemetry.enter_trace(CAME)
        return telemetry.current_trace()

    trace = copy_context().run(theirs)

    def ours() -> str:
        telemetry.resume_trace(trace)
        return telemetry.traceparent("saga-1")

    assert TRACE in copy_context().run(ours)
