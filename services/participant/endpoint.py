"""Calls in: a participant's methods as gRPC methods.

Which form a method of the servicer takes, its contract and its signature say:
- it participates: `def Method(self, request, step)`, run as a step against the ledger;
- it does not: `def Method(self, request, call)`, run in a transaction of its own;
- `async def Method(self, request, context)`: an ordinary grpc.aio handler, outside any transaction.

Where the servicer also has `def admit_Method(self)`, that is asked first, before the request is read: it may raise
Overloaded (mesh.server.Binding).
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from eventbus.envelope import REPLAY
from eventbus.replay import ordered
from mesh import identity, telemetry
from mesh.contract import Contract, Method
from mesh.contract_faults import ContractError
from mesh.database import Database
from mesh.server import Answer, Binding, Context, bound
from services.participant.outbox import Outbox
from services.participant.step import Call
from services.participant.steps import Handler, Steps, Trigger


def handlers_of(servicer: object, contract: Contract) -> dict[str, Handler]:
    """The handlers of a servicer's participating methods; raises ContractError where one cannot be a handler."""
    handlers = {}
    for method in contract.methods.values():
        if method.participates:
            handler = getattr(servicer, method.name)
            if inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler):
                raise ContractError(
                    f"{method.full_name} takes part in a process, so it runs in a transaction",
                    f"write it as a plain function, `def {method.name}(self, request, step)`",
                )
            handlers[method.full_name] = handler
    return handlers


class Endpoint:
    """Binds the methods of one servicer."""

    def __init__(
        self,
        servicer: object,
        contract: Contract,
        handlers: Mapping[str, Handler],
        steps: Steps,
        database: Database,
        outbox: Outbox,
    ) -> None:
        self._servicer = servicer
        self._contract = contract
        self._handlers = handlers
        self._steps = steps
        self._database = database
        self._outbox = outbox

    def bindings(self) -> list[Binding]:
        """What a mesh.server.Server serves."""
        return [bound(self._servicer, one.descriptor, self._call_for(one)) for one in self._contract.methods.values()]

    def _call_for(self, method: Method) -> Any:
        if method.participates:
            return self._step(method, self._handlers[method.full_name])
        handler = getattr(self._servicer, method.name)
        if inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler):
            return handler
        return self._plain(handler)

    def _step(self, method: Method, handler: Handler) -> Any:
        async def call(request: Message, context: Context) -> Answer:
            telemetry.current_saga.set(identity.saga_id(request))
            metadata = dict(context.invocation_metadata() or ())
            trigger = Trigger(replay=ordered(str(metadata.get(REPLAY, "")), time.time_ns() // 1000))
            answer = await self._database.run(lambda tx: self._steps.perform(tx, method, handler, request, trigger))
            for callback in answer.callbacks:
                callback()
            if answer.emission is not None:
                self._outbox.offer(answer.emission)
            return answer.status or answer.response

        return call

    def _plain(self, handler: Any) -> Any:
        async def call(request: Message, _context: Context) -> Answer:
            def work(tx: Any) -> tuple[Message, Call]:
                made = Call(tx)
                return handler(request, made), made

            response, made = await self._database.run(work)
            for callback in made.callbacks:
                callback()
            return response

        return call
