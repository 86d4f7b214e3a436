"""ensemble.orchestrator.v1: the engine and the tracker's tables, as a gRPC service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf import any_pb2

from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceServicer
from eventbus import replay
from eventbus.bus import EventBus, Unpublished
from eventbus.envelope import Envelope
from mesh.database import Database
from mesh.errors import OutOfOrder, Unavailable
from mesh.paging import Cursor, page_size, parse_token
from orchestrator import listing
from orchestrator.engine import Engine
from orchestrator.interventions import Undecided
from orchestrator.journal import STALLED, Journal
from orchestrator.listing import Filter
from orchestrator.picture import Picture
from orchestrator.pruning import Pruning
from orchestrator.stalled_listing import stalled_page
from orchestrator.watching import Watching

# How long CancelSaga and HandOver wait for the pivot's decision, where their caller does.
VERDICT_S = 5.0
# After how long PruneSagas begins no further batch.
PRUNE_S = 30.0

HAND_OVER = "ensemble.orchestrator.v1.OrchestratorService.HandOver"


class OrchestratorService(OrchestratorServiceServicer):
    """See ensemble/orchestrator/v1/orchestrator.proto."""

    def __init__(
        self,
        engine: Engine,
        database: Database,
        watching: Watching,
        picture: Picture,
        bus: EventBus,
        pruning: Pruning,
    ) -> None:
        self._engine = engine
        self._database = database
        self._watching = watching
        self._picture = picture
        self._bus = bus
        self._pruning = pruning

    def admit_StartSaga(self) -> None:
        """Turns a saga away that there is no place for; see orchestrator.admission.

        Unread, so also one that runs already: to ask again is safe. RunSaga is read first, and waits for it.
        """
        self._engine.admit()

    async def StartSaga(self, request: api.StartSagaRequest, context: Any) -> api.StartSagaResponse:
        """Starts, durably."""
        journal = await self._engine.start(request.process, request.input)
        return api.StartSagaResponse(saga=journal.to_proto())

    async def RunSaga(self, request: api.RunSagaRequest, context: Any) -> api.RunSagaResponse:
        """Starts, and waits for the end."""
        journal = await self._end_of(await self._engine.start(request.process, request.input))
        if journal.status == STALLED:
            raise _Stalled(f"saga {journal.saga_id} is stalled: {journal.stalled_reason}; {journal.stalled_help}")
        saga = journal.to_proto()
        response = api.RunSagaResponse(saga=saga)
        if journal.result:
            response.result.CopyFrom(any_pb2.Any.FromString(journal.result))
        if journal.refusal:
            response.refusal.CopyFrom(saga.refusal)
        return response

    async def GetSaga(self, request: api.GetSagaRequest, context: Any) -> api.GetSagaResponse:
        """Reads one saga."""
        return api.GetSagaResponse(saga=await self._picture.of(await self._engine.get(request.saga_id)))

    async def ListSagas(self, request: api.ListSagasRequest, context: Any) -> api.ListSagasResponse:
        """Reads a page of sagas, as they are once all that the engine knows is written."""
        size = page_size(request.page_size)
        after = parse_token(request.page_token)
        wanted = Filter(request.process, request.status, request.style)
        await self._engine.flushed()
        if request.stalled:
            return await self._list_stalled(wanted, after, size)
        journals = await self._database.run(lambda tx: listing.page(tx, wanted, after=after, limit=size + 1))
        response = api.ListSagasResponse(sagas=[journal.to_proto(with_steps=False) for journal in journals[:size]])
        if len(journals) > size:
            last = journals[size - 1]
            response.next_page_token = Cursor(last.started_us, last.saga_id).token()
        return response

    async def _list_stalled(self, wanted: Filter, after: Cursor | None, size: int) -> api.ListSagasResponse:
        def is_meant(journal: Journal) -> bool:
            kind = (journal.process, journal.status, journal.style)
            return wanted.lets_through(kind) and (journal.status == STALLED or bool(self._picture.late(journal)))

        before_us = self._picture.late_before_us()
        journals, rest = await self._database.run(
            lambda tx: stalled_page(tx, is_meant, before_us=before_us, after=after, limit=size)
        )
        response = api.ListSagasResponse(sagas=[self._picture.line(journal) for journal in journals])
        if rest is not None:
            response.next_page_token = rest.token()
        return response

    async def WatchSaga(self, request: api.WatchSagaRequest, context: Any) -> AsyncIterator[api.WatchSagaResponse]:
        """Reads one saga whenever it changes."""
        async for journal in self._watching.states(request.saga_id):
            yield api.WatchSagaResponse(saga=await self._picture.of(journal))

    async def CancelSaga(self, request: api.CancelSagaRequest, context: Any) -> api.CancelSagaResponse:
        """Asks for the no-go side, and waits for the verdict."""
        journal = await self._engine.cancel(request.saga_id)
        if not self._engine.verdict(journal):
            journal = await self._settled(journal, lambda state: bool(self._engine.verdict(state)), context)
        return api.CancelSagaResponse(saga=journal.to_proto(), verdict=self._engine.verdict(journal))

    async def RetrySaga(self, request: api.RetrySagaRequest, context: Any) -> api.RetrySagaResponse:
        """Sets a stalled saga going again."""
        return api.RetrySagaResponse(saga=(await self._engine.retry(request.saga_id)).to_proto())

    async def HandOver(self, request: api.HandOverRequest, context: Any) -> api.HandOverResponse:
        """Publishes the starting event, then lets go: a saga that nobody drives would be worse than one of two.

        Then once more, as the tracker did not look at what the choreography did before. A cancellation that was
        acknowledged, and of which only the orchestrator knows, is brought to its pivot first: choreography would not
        remember it, and would race it.
        """
        journal = await self._decided(await self._engine.get(request.saga_id), context)
        if not journal.ended:
            self._engine.check_choreography(journal)
            await self._publish_start(journal)
            journal = await self._let_go(journal, context)
        if not journal.ended:
            await self._publish_start(journal)
        return api.HandOverResponse(saga=journal.to_proto())

    async def Adopt(self, request: api.AdoptRequest, context: Any) -> api.AdoptResponse:
        """Drives a choreographed saga from now on."""
        return api.AdoptResponse(saga=(await self._engine.adopt(request.saga_id)).to_proto())

    async def PruneSagas(self, request: api.PruneSagasRequest, context: Any) -> api.PruneSagasResponse:
        """Forgets what ended long ago, as much as there is time for. Who wants all of it asks until nothing is left."""
        left_s = context.time_remaining()
        # Half of the time is for the batch that is then under way.
        within_s = PRUNE_S if left_s is None else min(PRUNE_S, left_s / 2)
        pruned = await self._pruning.prune(request.older_than.seconds, within_s)
        return api.PruneSagasResponse(sagas=pruned.sagas, ledger_rows=pruned.ledger_rows)

    async def _let_go(self, journal: Journal, context: Any) -> Journal:
        while True:
            try:
                return await self._engine.let_go(journal.saga_id)
            except Undecided:  # it was cancelled a moment ago
                now = await self._engine.get(journal.saga_id)
                if (await self._decided(now, context)).status == STALLED:
                    raise

    async def _decided(self, journal: Journal, context: Any) -> Journal:
        """The saga once its pivot has decided a cancellation that is under way, or it stalls; raises Unavailable."""
        if self._engine.awaits_pivot(journal):
            journal = await self._settled(journal, lambda state: not self._engine.awaits_pivot(state), context)
        if self._engine.awaits_pivot(journal) and journal.status != STALLED:
            raise Unavailable(
                f"not handed over: saga {journal.saga_id} is being cancelled, and the participant that decides has "
                "not answered yet; the cancellation is kept, try again"
            )
        return journal

    async def _settled(self, journal: Journal, settled: Callable[[Journal], bool], context: Any) -> Journal:
        """The saga once it is settled, or stalls; as it stands when its caller can wait no longer."""
        left_s, state = context.time_remaining(), journal
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(VERDICT_S if left_s is None else min(VERDICT_S, left_s * 0.8)):
                async for state in self._watching.states(journal.saga_id):
                    if settled(state) or state.status == STALLED:
                        break
        return state

    async def _end_of(self, journal: Journal) -> Journal:
        """The saga at its end, or once it stalls. Wakes once where it runs here, and at every change elsewhere."""
        over = self._engine.over(journal.saga_id)
        if over is not None and (ended := await asyncio.shield(over)) is not None:
            return ended
        async for state in self._watching.states(journal.saga_id):
            if state.ended or state.status == STALLED:
                return state
        raise AssertionError("states end with the saga")

    async def _publish_start(self, journal: Journal) -> None:
        event = journal.starting_event()
        envelope = Envelope.starting(event, method=HAND_OVER, source="orchestrator", replay=replay.mint())
        try:
            await self._bus.publish(envelope)
        except Unpublished as error:
            raise Unavailable(f"not handed over, the broker is away; try again ({error})") from None


class _Stalled(OutOfOrder):
    """The saga that was to be run to its end needs a person."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="SAGA_STALLED")
