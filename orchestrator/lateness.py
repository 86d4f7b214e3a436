"""When a saga is late: past its deadline, or without progress for longer than the settings allow.

Progress is a step that begins or is answered, not one more try of it. A saga that waits on purpose (for a time, an
event, a child) is not late for that: not before it is due, and not while nothing else of it is open.
"""

from __future__ import annotations

from mesh.contract import Contract
from orchestrator.journal import CHOREOGRAPHED, OWN, STALLED, STEP_RUNNING, Journal


def late(contract: Contract, journal: Journal, now_us: int, stalled_after_s: float) -> str:
    """Why a saga is late; empty where it is not, has ended, or was stopped and needs a person."""
    if journal.ended or (journal.status == STALLED and journal.style != CHOREOGRAPHED):
        return ""
    overdue, idle = past_deadline(contract, journal, now_us), _idle(journal, now_us, stalled_after_s)
    until_us = deadline_us(contract, journal)
    # What came first, so that the answer is the same later.
    if overdue and until_us is not None and until_us < _progress_us(journal) + int(stalled_after_s * 1e6):
        return overdue
    return idle or overdue


def deadline_us(contract: Contract, journal: Journal) -> int | None:
    """By when a saga should have ended, where its contract says so."""
    process = contract.processes.get(journal.process)
    if process is None or process.start.deadline_s is None:
        return None
    return journal.started_us + int(process.start.deadline_s * 1e6)


def past_deadline(contract: Contract, journal: Journal, now_us: int) -> str:
    """That a saga should have ended before, where that is so."""
    until_us = deadline_us(contract, journal)
    if until_us is None or now_us <= until_us:
        return ""
    return f"past its deadline of {(until_us - journal.started_us) / 1e6:g} s"


def _idle(journal: Journal, now_us: int, stalled_after_s: float) -> str:
    before_us = now_us - int(stalled_after_s * 1e6)
    if _progress_us(journal) >= before_us:
        return ""
    if journal.due_us is not None:
        overdue = journal.due_us < before_us
        return f"due for {stalled_after_s:g} s, and no orchestrator that runs has taken it" if overdue else ""
    open_ = [step.method for step in journal.steps.values() if step.status == STEP_RUNNING]
    if journal.style != CHOREOGRAPHED and open_ and all(method.startswith(OWN) for method in open_):
        return ""
    return f"no progress for {stalled_after_s:g} s"


def _progress_us(journal: Journal) -> int:
    if journal.style == CHOREOGRAPHED:  # where only what is new counts as a change
        return journal.updated_us
    return max(
        (max(step.started_us, step.ended_us) for step in journal.steps.values()),
        default=journal.started_us,
    )
