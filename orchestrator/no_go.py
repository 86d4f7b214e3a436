"""The way back, as the contract says: the same by calls as the choreography does by events.

The aborting method runs first and decides. If it wins, every method that its event triggers runs, started or not,
and so on along the graph to the event that ends the process as compensated. If it loses, the saga goes forward.
Which steps were started need not be known: a tombstone makes the compensation of one that never came harmless.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from google.protobuf.message import Message

from ensemble.coordination.v1 import coordination_pb2
from mesh.contract import Contract, Method, Process
from mesh.projection import project
from orchestrator.saga import Saga, Stall, StepRefused


class PivotLost(Exception):
    """The aborting method came too late: the pivot has decided for the way forward."""


async def compensate(saga: Saga, contract: Contract, process: Process, start: Message) -> None:
    """Takes a saga's no-go side to its end. Raises PivotLost, before anything is compensated, or Stall."""
    aborting = process.aborting
    if aborting is None:
        raise Stall(
            f"process {process.name} has no method that aborts it, so what was done cannot be taken back",
            "give the contract a pivot and the method that `aborts` it, then",
        )
    request = project(aborting.request_class, start)
    try:
        response = await saga.step(aborting, request)
    except StepRefused as refusal:
        raise PivotLost(refusal.info.reason) from refusal
    way_back = _WayBack(saga, contract)
    await way_back.follow(project(contract.events[aborting.emits].message_class, request, response))
    if not way_back.ended:
        raise Stall(
            f"the way back of {process.name} ends in no event with OUTCOME_COMPENSATED",
            "mark the last event of the way back with `outcome: OUTCOME_COMPENSATED`, then",
        )


class _WayBack:
    def __init__(self, saga: Saga, contract: Contract) -> None:
        self._saga = saga
        self._contract = contract
        self._arrived: dict[str, dict[str, Message]] = defaultdict(dict)
        self.ended = False

    async def follow(self, event: Message) -> None:
        """Does what an event triggers, and what follows from that."""
        name = event.DESCRIPTOR.full_name
        if self._contract.events[name].outcome == coordination_pb2.OUTCOME_COMPENSATED:
            self.ended = True
        await asyncio.gather(*(self._trigger(method, event) for method in self._contract.triggered_by(name)))

    async def _trigger(self, method: Method, event: Message) -> None:
        arrived = self._arrived[method.full_name]
        arrived[event.DESCRIPTOR.full_name] = event
        if method.join_all and set(arrived) != set(method.on):
            return
        request = project(method.request_class, *(arrived.values() if method.join_all else [event]))
        try:
            response = await self._saga.step(method, request)
        except StepRefused as refusal:
            self._saga.ask_again(method, request)
            raise Stall(
                f"{method.full_name} refused on the way back: {refusal.info.reason}",
                "a compensation must always succeed: mend the service, then",
            ) from refusal
        if method.emits:
            await self.follow(project(self._contract.events[method.emits].message_class, request, response))
