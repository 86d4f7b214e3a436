"""Whether every event has somebody who emits it, and somebody who hears it.

nobody-emits            methods wait for an event that nothing emits
nobody-hears (warning)  an event is emitted, and nothing comes of it
observed-unheard        an observer listens in either style to an event that only the choreography publishes
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh.contract import Contract, EventType
from mesh.verification.finding import Finding, Severity, agreeing, short


def check_events(contract: Contract) -> Iterator[Finding]:
    """Checks every event of a contract."""
    for event in contract.events.values():
        yield from _check_emitted(contract, event)
        yield from _check_heard(contract, event)
        yield from _check_observed(contract, event)


def _check_emitted(contract: Contract, event: EventType) -> Iterator[Finding]:
    name = event.full_name
    waiting = [method.full_name for method in (*contract.triggered_by(name), *contract.observing(name))]
    if waiting and not event.starts and not contract.sources_of(name):
        what = f"nobody emits {short(name)}, which {agreeing(waiting, 'waits')} for"
        yield Finding("nobody-emits", event.descriptor, what, "let a method name it in `emits` or `refuses`")


def _check_heard(contract: Contract, event: EventType) -> Iterator[Finding]:
    name = event.full_name
    if event.starts or event.outcome or event.public or contract.triggered_by(name) or contract.observing(name):
        return
    # The refusal of an aborting method says that the pivot has decided for go, whose own event drives the saga on.
    sources = [method for method in contract.sources_of(name) if not (method.aborts and method.refuses == name)]
    if sources:
        what = f"nobody hears {short(name)}, which {agreeing([one.full_name for one in sources], 'emits')}"
        help_ = "let a method name it in `on`, mark it `public` for those outside, or take it out"
        yield Finding("nobody-hears", event.descriptor, what, help_, Severity.WARNING)


def _check_observed(contract: Contract, event: EventType) -> Iterator[Finding]:
    if event.public:
        return
    for method in contract.observing(event.full_name):
        what = f"{method.name} observes {short(event.full_name)}, which an orchestrated saga does not publish"
        yield Finding("observed-unheard", method.descriptor, what, "mark the event `public: true`")
