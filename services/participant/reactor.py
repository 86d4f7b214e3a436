"""Events in: what a participant does when an event arrives.

An event triggers the methods whose `on` names it, if the choreography published it, and the methods that observe it,
in either style. Each runs in a transaction of its own; the message is acknowledged when all have committed and what
they emit is with the broker, or left to the outbox.
"""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import Message

from eventbus.consumer import Delivery
from eventbus.envelope import CHOREOGRAPHED, ORCHESTRATED, subject
from mesh import identity, telemetry, validation
from mesh.contract import Contract, Method
from mesh.database import Database
from services.participant.outbox import Outbox
from services.participant.steps import Handler, Steps, Trigger


class Reactor:
    """Handles the deliveries of one participant's consumer; raises what eventbus.consumer has rules for."""

    def __init__(
        self, contract: Contract, handlers: Mapping[str, Handler], steps: Steps, database: Database, outbox: Outbox
    ) -> None:
        self._contract = contract
        self._handlers = handlers
        self._steps = steps
        self._database = database
        self._outbox = outbox

    def subjects(self) -> list[str]:
        """What the consumer subscribes to."""
        triggering = {event for method in self._contract.methods.values() for event in method.on}
        observed = {event for method in self._contract.methods.values() for event in method.observes}
        subjects = {subject(CHOREOGRAPHED, event) for event in triggering | observed}
        return sorted(subjects | {subject(ORCHESTRATED, event) for event in observed})

    async def handle(self, delivery: Delivery) -> None:
        """Runs every method that the event triggers."""
        event = validation.parse(self._contract.events[delivery.event].message_class, delivery.body)
        validation.validate(event)
        telemetry.current_saga.set(identity.saga_id(event))
        trigger = Trigger(delivery.event, delivery.choreographed, delivery.replay)
        for method in self._triggered(delivery):
            await self._run(method, event, trigger)

    def _triggered(self, delivery: Delivery) -> list[Method]:
        inside = self._contract.triggered_by(delivery.event) if delivery.choreographed else []
        return inside + self._contract.observing(delivery.event)

    async def _run(self, method: Method, event: Message, trigger: Trigger) -> None:
        handler = self._handlers[method.full_name]
        answer = await self._database.run(lambda tx: self._steps.arrive(tx, method, handler, event, trigger))
        if answer is None:
            return
        for callback in answer.callbacks:
            callback()
        if answer.emission is not None:
            await self._outbox.publish(answer.emission)
