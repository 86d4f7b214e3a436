"""The way back of a process that no pivot decides: what was started is compensated, last first.

Such a process is only ever orchestrated, so its journal knows what was started: every step is written down, with its
request, before it is called (orchestrator.saga). A step in doubt is compensated like one that is done; where it never
came, its compensation buries it.
"""

from __future__ import annotations

from google.protobuf.message import Message

from mesh.contract import Contract, Method
from mesh.projection import missing_fields, project
from orchestrator.journal import OWN, STEP_REFUSED, Journal, StepEntry
from orchestrator.saga import Saga, Stall, StepRefused


async def compensate_started(saga: Saga, contract: Contract, journal: Journal, start: Message) -> None:
    """Compensates every started step that has a compensation; raises Stall where one cannot be done."""
    for entry in sorted(_started(journal), key=lambda entry: entry.started_us, reverse=True):
        method = contract.methods[entry.method]
        compensation = contract.compensation_of(method)
        if compensation is None:
            continue  # nothing to take back: a read, or a step on its own row
        request = _request(compensation, method, entry, start)
        try:
            await saga.step(compensation, request)
        except StepRefused as refusal:
            saga.ask_again(compensation, request)
            raise Stall(
                f"{compensation.full_name} refused on the way back: {refusal.info.reason}",
                "a compensation must always succeed: mend the service, then",
            ) from refusal


def _started(journal: Journal) -> list[StepEntry]:
    """A refused step had no effect; what was not written down was not called."""
    refused = STEP_REFUSED
    entries = journal.steps.values()
    return [one for one in entries if one.request and one.status != refused and not one.method.startswith(OWN)]


def _request(compensation: Method, method: Method, entry: StepEntry, start: Message) -> Message:
    """Filled from the step's request and its response, and where they do not have it, from the starting event."""
    sources = [method.request_class.FromString(entry.request)]
    if entry.done:
        sources.append(method.response_class.FromString(entry.outcome))
    given = [method.descriptor.input_type, method.descriptor.output_type][: len(sources)]
    if missing_fields(compensation.descriptor.input_type, given):
        sources.append(start)
    return project(compensation.request_class, *sources)
