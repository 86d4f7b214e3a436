"""One run of one saga: from where it stands to its end, or to where it has to wait.

    RUNNING ── the workflow returns ──────────────▶ COMPLETED
       │ ▲
       │ └─ the pivot had decided for go ─┐
       ▼                                  │
    COMPENSATING ── the way back ends ────┴──────▶ COMPENSATED

    either ── what calling again cannot mend ──▶ STALLED
    either ── only waits, and for long ────────▶ parked: the run ends here, and another one goes on

What may happen at any point, and what follows:
- the process dies: the saga is run again from its start; what the journal forgot, the ledgers answer;
- another orchestrator drives the same saga, or the participants' events do: each step happens once, the pivot
  decides once, and whoever loses is told so by a refusal and follows the winner;
- a cancellation comes, or the deadline of the process: the workflow is left where it is, and the pivot decides
  whether that came in time. Once it has decided for go, neither counts any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from google.protobuf.message import Message
from google.rpc import error_details_pb2

from mesh import telemetry
from mesh.contract import Process
from orchestrator import no_go
from orchestrator.engine_port import EnginePort
from orchestrator.journal import COMPENSATED, COMPENSATING, COMPLETED, RUNNING, STALLED, Journal, SagaStatus, pack
from orchestrator.no_go import PivotLost
from orchestrator.reverse import compensate_started
from orchestrator.saga import Park, Saga, Stall, StepRefused
from orchestrator.workflow import Workflow

log = logging.getLogger(__name__)


class _Cancelled(Exception):
    """The no-go side was asked for from outside."""


class _Overdue(Exception):
    """The deadline of the process has passed."""


class _Parked(Exception):
    """The way was left, to be gone on when there is something to do."""

    def __init__(self, park: Park) -> None:
        super().__init__()
        self.park = park


class Run:
    """Drives one saga. It owns the journal while it runs."""

    def __init__(
        self,
        journal: Journal,
        workflow: Workflow,
        engine: EnginePort,
        event: Message | None = None,
        trace: str = "",
    ) -> None:
        """`event`: the starting one, where it need not be read from the journal; `trace`: whoever started it has it."""
        self.journal = journal
        self.parked: Park | None = None  # set where the run ended for that reason
        self.over: asyncio.Future[Journal | None] = asyncio.get_running_loop().create_future()
        self._event = event
        self._trace = trace
        self._workflow = workflow
        self._engine = engine
        self._left: asyncio.Future[Exception | None] | None = None
        self._forward_only = False

    def left(self) -> None:
        """Others drive the saga from now on, or later."""
        self._tell_over(None)

    def cancel(self) -> None:
        """Tells a run that its journal says `cancelling` now."""
        if self.journal.status == RUNNING and not self._forward_only:
            self._leave(_Cancelled())

    async def to_the_end(self) -> None:
        """Runs until the saga has ended, stalls or parks. A cancelled run leaves it to whoever runs it on."""
        telemetry.current_saga.set(self.journal.saga_id)
        telemetry.resume_trace(self._trace)
        self.parked = None
        try:
            await self._forward_or_back()
        except _Parked as parked:
            self.parked = parked.park
        except asyncio.CancelledError:
            self._tell_over(None)
            raise
        except Stall as stall:
            self._stall(stall.reason, stall.help)
        except Exception as error:  # a fault of ours: the saga must not vanish
            log.exception("the engine failed")
            self._stall(f"the engine failed with {type(error).__name__}", "the orchestrator's log says more; then")

    async def _forward_or_back(self) -> None:
        while True:
            if self.journal.status == RUNNING and not self.journal.cancelling:
                try:
                    await self._forward()
                    return
                except StepRefused as refusal:
                    if self._forward_only:
                        raise Stall(
                            f"{refusal.method} refused ({refusal.info.reason}) though the pivot decided for go",
                            "the contract allows no refusal behind the pivot: mend the service, then",
                        ) from refusal
                    self.journal.refusal = refusal.info.SerializeToString()
                except _Overdue:
                    log.warning("past its deadline, so it turns back")
                    self.journal.cancelling = True  # no participant knows of it, as of a refusal
                    self.journal.refusal = error_details_pb2.ErrorInfo(reason="DEADLINE_EXCEEDED").SerializeToString()
                except _Cancelled:
                    pass
            try:
                await self._back()
                return
            except PivotLost:
                self._forward_only = True
                self._forget_the_cancellation()

    async def _forward(self) -> None:
        saga = Saga(self.journal, self._engine, self._leave_for)
        try:
            result = await self._supervise(saga, self._walk(saga), self._seconds_left())
        except BaseExceptionGroup as group:  # a TaskGroup of the workflow's
            raise _refusal_in(group) from group
        if result is not None:
            self.journal.result = pack(result)
        self.journal.cancelling, self.journal.refusal = False, b""  # asked for while it was ending: too late
        self._set(COMPLETED)

    async def _back(self) -> None:
        self._set(COMPENSATING)
        saga = Saga(self.journal, self._engine, self._leave_for)
        await self._supervise(saga, self._walk_back(saga), None)
        self._set(COMPENSATED)

    async def _walk(self, saga: Saga) -> Message | None:
        return await self._workflow.run(saga, self._input())

    async def _walk_back(self, saga: Saga) -> None:
        process = self._process()
        if process.aborting is not None:
            await no_go.compensate(saga, self._engine.contract, process, self._input())
        else:
            await compensate_started(saga, self._engine.contract, self.journal, self._input())
        await saga.cancel_children()

    def _forget_the_cancellation(self) -> None:
        """Too late: the workflow runs again from its start, and the ledgers answer."""
        self.journal.cancelling, self.journal.refusal = False, b""
        self.journal.forget_refusals()
        self._engine.forget_steps(self.journal)
        self._set(RUNNING)

    async def _supervise(self, saga: Saga, way: Coroutine[Any, Any, Any], seconds: float | None) -> Any:
        """Goes one way until it ends, stalls, parks, is cancelled from outside, or has taken all its seconds."""
        loop = asyncio.get_running_loop()
        self._left = loop.create_future()
        walking = asyncio.create_task(way, name=f"walk {self.journal.saga_id}")
        walking.add_done_callback(lambda _: self._leave(None))
        overdue = loop.call_later(seconds, self._leave, _Overdue()) if seconds is not None else None
        try:
            if (why := await self._left) is not None:
                raise why
            if walking.cancelled():
                raise Stall("the workflow cancelled itself", "let it raise nothing but refusals; mend it, then")
            return walking.result()
        except (StepRefused, PivotLost, Stall, _Cancelled, _Overdue, _Parked, BaseExceptionGroup):
            raise
        except Exception as error:
            log.exception("the workflow failed")
            raise Stall(
                f"the workflow raised {type(error).__name__}; the orchestrator's log says where",
                "mend it and start the orchestrator again, then",
            ) from error
        finally:
            if overdue is not None:
                overdue.cancel()
            await self._let_go(saga, walking)

    async def _let_go(self, saga: Saga, walking: asyncio.Task[Any]) -> None:
        if not walking.done():
            walking.cancel()
        await saga.abandon()
        await asyncio.gather(walking, return_exceptions=True)

    def _leave(self, why: Exception | None) -> None:
        if self._left is not None and not self._left.done():
            self._left.set_result(why)

    def _leave_for(self, why: Stall | Park) -> None:
        self._leave(_Parked(self._before_the_deadline(why)) if isinstance(why, Park) else why)

    def _before_the_deadline(self, park: Park) -> Park:
        """A parked saga is looked at when its deadline comes, too."""
        left_s = self._seconds_left()
        if left_s is None or self.journal.status != RUNNING:
            return park
        return Park(min(park.until_us, self._engine.clock.now_us() + int(left_s * 1e6)), park.names)

    def _seconds_left(self) -> float | None:
        """Until the deadline of the process; None where there is none, or where it counts no more."""
        process = self._engine.contract.processes.get(self.journal.process)
        if process is None or process.start.deadline_s is None or self._forward_only:
            return None
        elapsed_us = self._engine.clock.now_us() - self.journal.started_us
        return max(process.start.deadline_s - elapsed_us / 1e6, 0.0)

    def _stall(self, reason: str, what_to_do: str) -> None:
        journal = self.journal
        journal.stalled_reason = reason
        journal.stalled_help = f"{what_to_do} run `ensemble saga retry {journal.saga_id}`"
        log.error("stalled: %s; %s", journal.stalled_reason, journal.stalled_help)
        self._set(STALLED)

    def _set(self, status: SagaStatus.ValueType) -> None:
        journal = self.journal
        journal.status = status
        journal.ended_us = self._engine.clock.now_us() if journal.ended else 0
        journal.owner = journal.owner if journal.driven else None
        self._engine.note(journal)
        if not journal.driven:
            self._tell_over(journal)

    def _tell_over(self, journal: Journal | None) -> None:
        if not self.over.done():
            self.over.set_result(journal)

    def _input(self) -> Message:
        if self._event is None:
            self._event = self.journal.starting_event()
        return self._event

    def _process(self) -> Process:
        process = self._engine.contract.processes.get(self.journal.process)
        if process is None:
            raise Stall(
                f"no contract starts a process {self.journal.process!r}", "mark its starting event with `starts`, then"
            )
        return process


def _refusal_in(group: BaseExceptionGroup[BaseException]) -> Exception:
    """The refusal among the errors of a TaskGroup; a stall where there is none."""
    refusals = group.subgroup(StepRefused)
    if refusals is None:
        log.error("the workflow failed", exc_info=group)
        kinds = ", ".join(sorted({type(error).__name__ for error in group.exceptions}))
        return Stall(f"the workflow raised {kinds}; the orchestrator's log says where", "mend it, then")
    first = refusals.exceptions[0]
    return _refusal_in(first) if isinstance(first, BaseExceptionGroup) else first
