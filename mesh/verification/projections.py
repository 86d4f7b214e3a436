"""Whether every message that the mesh builds by itself can be built in full.

A request is filled from the events that trigger its method, an event from the request and the response of its step
(or the refusal), by field name and type (mesh.projection).

unfilled-request      a field of a request that an event does not fill
unfilled-event        a field of an event that neither request nor response fills
type-clash            a field that would be filled if its type were the same (a warning, where another source fills it)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from google.protobuf.descriptor import Descriptor

from ensemble.coordination.v1 import coordination_pb2
from mesh.contract import Contract, Method
from mesh.projection import matches
from mesh.verification.finding import Finding, Severity, listed, short


def check_projections(contract: Contract) -> Iterator[Finding]:
    """Checks every request and every event that is built."""
    for method in contract.methods.values():
        for events in _ways(contract, method):
            sources = [contract.events[event].descriptor for event in events if event in contract.events]
            if len(sources) == len(events):
                yield from _check(f"the request of {method.name}", method.descriptor.input_type, sources, "request")
        for event, answer in (
            (method.emits, method.descriptor.output_type),
            (method.refuses, coordination_pb2.Refusal.DESCRIPTOR),
        ):
            if event in contract.events:
                sources = [method.descriptor.input_type, answer]
                yield from _check(f"what {method.name} emits", contract.events[event].descriptor, sources, "event")


def _ways(contract: Contract, method: Method) -> Iterator[tuple[str, ...]]:
    """The events that together fill a request, for each way in which it can come about."""
    if method.join_all:
        yield method.on
    else:
        yield from ((event,) for event in method.on)
    yield from ((event,) for event in method.observes)
    if method.aborts and (process := contract.process_of(method)) is not None:
        yield (process.start.full_name,)  # the engine takes the no-go side from there


def _check(of_what: str, target: Descriptor, sources: Sequence[Descriptor], kind: str) -> Iterator[Finding]:
    for field in target.fields:
        clashing = [one for one in sources if field.name in one.fields_by_name and not matches(field, one)]
        filled = any(matches(field, source) for source in sources)
        given_by = listed([source.full_name for source in sources])
        if clashing:
            others = listed([source.full_name for source in clashing])
            what = f"{of_what}: `{field.name}` has another type in {others} than in {short(target.full_name)}"
            severity = Severity.WARNING if filled else Severity.ERROR
            yield Finding("type-clash", field, what, "give it the same type in both, or another name", severity)
        elif not filled:
            what = f"{of_what}: nothing in {given_by} fills `{field.name}` of {short(target.full_name)}"
            yield Finding(
                f"unfilled-{kind}", field, what, "add a field of that name and type there, or take it out here"
            )
