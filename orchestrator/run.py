"""One run of one saga: from where it stands to its end.

    RUNNING ── the workflow returns ──────────────▶ COMPLETED
       │ ▲
       │ └─ the pivot had decided for go ─┐
       ▼                                  │
    COMPENSATING ── the way back ends ────┴──────▶ COMPENSATED

    either ── what calling again cannot mend ──▶ STALLED

What may happen at any point, and what follows:
- the process dies: the saga is run again from its start; what the journal forgot, the ledgers answer;
- another orchestrator drives the same saga, or the participants' events do: each step happens once, the pivot
  decides once, and whoever loses is told so by a refusal and follows the winner;
- a cancellation comes: the workflow is left where it is, and the pivot decides whether it came in time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message

from mesh import telemetry
from mesh.contract import Contract, Process
from orchestrator import no_go
from orchestrator.journal import Journal, SagaStatus, now_us, pack
from orchestrator.no_go import PivotLost
from orchestrator.participants import Participants
from orchestrator.saga import Saga, Stall, StepRefused
from orchestrator.store import WriteBehind
from orchestrator.workflow import Workflow

log = logging.getLogger(__name__)


class _Cancelled(Exception):
    """The no-go side was asked for from outside."""


class Run:
    """Drives one saga. It owns the journal while it runs; `cancel` may be set at any time."""

    def __init__(
        self,
        journal: Journal,
        workflow: Workflow,
        contract: Contract,
        participants: Participants,
        behind: WriteBehind,
        changed: Callable[[str], None],
    ) -> None:
        self.journal = journal
        self.cancel = asyncio.Event()
        self._workflow = workflow
        self._contract = contract
        self._participants = participants
        self._behind = behind
        self._changed = changed

    async def to_the_end(self) -> None:
        """Runs until the saga has ended or stalls. A cancelled run leaves it to whoever runs it on."""
        telemetry.current_saga.set(self.journal.saga_id)
        telemetry.enter_trace(None)
        try:
            await self._forward_or_back()
        except Stall as stall:
            self._stall(stall.reason, stall.help)
        except Exception as error:  # a fault of ours: the saga must not vanish
            log.exception("the engine failed")
            self._stall(f"the engine failed with {type(error).__name__}", "the orchestrator's log says more; then")

    async def _forward_or_back(self) -> None:
        go_decided = False
        while True:
            if self.journal.status == SagaStatus.SAGA_STATUS_RUNNING and not self.journal.cancelling:
                try:
                    await self._forward()
                    return
                except StepRefused as refusal:
                    if go_decided:
                        raise Stall(
                            f"{refusal.method} refused ({refusal.info.reason}) though the pivot decided for go",
                            "the contract allows no refusal behind the pivot: mend the service, then",
                        ) from refusal
                    self.journal.refusal = refusal.info.SerializeToString()
                except _Cancelled:
                    pass
            try:
                await self._back()
                return
            except PivotLost:
                go_decided = True
                self._forget_the_cancellation()

    async def _forward(self) -> None:
        saga = self._saga()
        try:
            result = await self._supervise(saga, self._workflow.run(saga, self._input()), self.cancel)
        except BaseExceptionGroup as group:  # a TaskGroup of the workflow's
            raise _refusal_in(group) from group
        finally:
            await saga.abandon()
        if result is not None:
            self.journal.result = pack(result)
        self._set(SagaStatus.SAGA_STATUS_COMPLETED)

    async def _back(self) -> None:
        self._set(SagaStatus.SAGA_STATUS_COMPENSATING)
        saga = self._saga()
        try:
            await self._supervise(saga, no_go.compensate(saga, self._contract, self._process(), self._input()), None)
        finally:
            await saga.abandon()
        self._set(SagaStatus.SAGA_STATUS_COMPENSATED)

    def _forget_the_cancellation(self) -> None:
        """Too late: the workflow runs again from its start, and the ledgers answer."""
        self.journal.cancelling, self.journal.refusal = False, b""
        self.cancel.clear()
        self.journal.forget_refusals()
        self._behind.forget_steps(self.journal.saga_id)
        for step in self.journal.steps.values():
            self._behind.step(self.journal.saga_id, step)
        self._set(SagaStatus.SAGA_STATUS_RUNNING)

    async def _supervise(self, saga: Saga, way: Awaitable[Any], cancel: asyncio.Event | None) -> Any:
        """Runs one way of the saga until it ends, stalls, or is cancelled from outside."""
        walking = asyncio.ensure_future(way)
        cancelled = asyncio.ensure_future(cancel.wait()) if cancel else None
        try:
            waiting = {walking, saga.stalled} | ({cancelled} if cancelled else set())
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if saga.stalled.done():
                raise saga.stalled.result()
            if walking.cancelled():
                raise Stall("the workflow cancelled itself", "let it raise nothing but refusals; mend it, then")
            if walking.done():
                return walking.result()
            raise _Cancelled
        except (StepRefused, PivotLost, Stall, _Cancelled, BaseExceptionGroup):
            raise
        except Exception as error:
            log.exception("the workflow failed")
            raise Stall(
                f"the workflow raised {type(error).__name__}; the orchestrator's log says where",
                "mend it and start the orchestrator again, then",
            ) from error
        finally:
            for task in filter(None, (walking, cancelled)):
                task.cancel()
            await asyncio.gather(*filter(None, (walking, cancelled)), return_exceptions=True)

    def _saga(self) -> Saga:
        def changed(step: Any) -> None:
            self.journal.updated_us = now_us()
            self._behind.step(self.journal.saga_id, step)
            self._changed(self.journal.saga_id)

        return Saga(self.journal, self._contract, self._participants, changed)

    def _stall(self, reason: str, what_to_do: str) -> None:
        journal = self.journal
        journal.stalled_reason = reason
        journal.stalled_help = f"{what_to_do} run `ensemble saga retry {journal.saga_id}`"
        log.error("stalled: %s; %s", journal.stalled_reason, journal.stalled_help)
        self._set(SagaStatus.SAGA_STATUS_STALLED)

    def _set(self, status: SagaStatus.ValueType) -> None:
        journal = self.journal
        journal.status = status
        journal.updated_us = now_us()
        journal.ended_us = journal.updated_us if journal.ended else 0
        self._behind.saga(journal)
        self._changed(journal.saga_id)

    def _input(self) -> Message:
        return self.journal.input_as(self._workflow.input_class)

    def _process(self) -> Process:
        process = self._contract.processes.get(self.journal.process)
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
