"""The test kit for handlers: a real participant in the test's own process.

    def test_an_order_that_is_too_big_is_refused() -> None:
        with ParticipantTest(InventoryService()) as inventory:
            inventory.call("SetStock", SetStockRequest(sku="sku-1", on_hand=10))
            inventory.deliver(OrderPlaced(order=an_order_of(11)))
            assert inventory.published_names == ["StockRefused"]
            with pytest.raises(Refused) as refused:
                inventory.call("ReserveStock", ReserveStockRequest(order=an_order_of(11)))
            assert refused.value.reason == "OUT_OF_STOCK"

No broker, no port, no thread, no coroutine: the ledger, the joins and the outbox are the real ones, the database is
SQLite in memory, and the time is virtual. A servicer that calls or publishes by itself (one with `join`) is not
joined to anything: its steps and its plain methods can be tested here, its side tasks cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from google.protobuf.message import Message
from google.rpc import status_pb2
from sqlalchemy import Connection

from eventbus.envelope import CHOREOGRAPHED
from mesh import errors, virtual_time
from mesh.errors import Refused
from services.participant.local import LocalParticipant, Published

__all__ = ["ParticipantTest", "Refused"]

T = TypeVar("T")


class ParticipantTest:
    """One servicer under test. A context manager; it must not be used inside a coroutine (LocalParticipant can)."""

    def __init__(self, servicer: object) -> None:
        self._runner = virtual_time.runner()
        self._published = Published()
        self._local = LocalParticipant(servicer, publisher=self._published)

    def __enter__(self) -> ParticipantTest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the participant and forgets all it wrote."""
        self._runner.run(self._local.close())
        self._runner.close()

    def call(self, method: str, request: Message) -> Any:
        """Calls a method by its short name, as a client does, and returns its response.

        Raises Refused for a business refusal, and for a step that was compensated before it came (with the reason
        STEP_COMPENSATED); Invalid, StepMismatch and the other errors of mesh.errors; what the handler itself raises.
        """
        answer = self._run(self._local.ask(method, request))
        if isinstance(answer, status_pb2.Status):
            raise _as_error(answer)
        return answer

    def deliver(self, event: Message, *, style: str = CHOREOGRAPHED) -> None:
        """Delivers an event as the choreography does: every method that it triggers runs.

        A refusal raises nothing: it is published as an event. Other errors are raised; the consumer would deliver
        the event again, or write a dead letter.
        """
        self._run(self._local.deliver(event, style=style))

    @property
    def published(self) -> list[Message]:
        """The events that were published, oldest first.

        A step of a saga that no event has triggered here (one that the orchestrator drives) publishes only those
        that its contract marks as `public`.
        """
        events = self._local.contract.events
        return [events[one.event].message_class.FromString(one.body) for one in self._published.envelopes]

    @property
    def published_names(self) -> list[str]:
        """The short names of the events that were published, oldest first."""
        return [event.DESCRIPTOR.name for event in self.published]

    def transaction(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in a transaction of the participant's database: to prepare its tables, or to look at them."""
        return self._run(self._local.database.run(work))

    def _run(self, doing: Coroutine[Any, Any, T]) -> T:
        async def run() -> T:
            done = await doing
            await self._local.flush()
            return done

        return self._runner.run(run())


def _as_error(status: status_pb2.Status) -> Refused:
    info = errors.error_info_of(status)
    assert info is not None, "the ledger records no status without ErrorInfo"
    error = Refused(info.reason, status.message)
    error.code, error.metadata = errors.grpc_code(status), dict(info.metadata)
    return error
