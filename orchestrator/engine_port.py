"""What a run of a saga needs of its engine."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import Protocol

from google.protobuf.message import Message

from mesh.clock import Clock
from mesh.contract import Contract, Method
from orchestrator.asking import Tell
from orchestrator.journal import Journal, StepEntry
from orchestrator.participants import Answer


class Asks(Protocol):
    """Whoever calls participants: orchestrator.participants.Participants, or a fake."""

    async def ask(
        self, method: Method, request: bytes, timeout_s: float | None, on_failure: Tell, on_pause: Tell
    ) -> Answer:
        """Calls a method until it answers definitely; raises Indefinite."""


class EnginePort(Protocol):
    """An engine, as its runs see it."""

    clock: Clock
    contract: Contract
    participants: Asks

    def note(self, journal: Journal, step: StepEntry | None = None) -> None:
        """A saga, or one of its steps, has changed: it will be written, and watchers are told."""

    def forget_steps(self, journal: Journal) -> None:
        """The steps that were noted before are void; those that the journal still has are noted anew."""

    async def flushed(self) -> None:
        """Returns once all that was noted is durable."""

    async def read_mail(self, saga_id: str, name: str) -> tuple[bytes, int] | None:
        """What came for a saga under a name, and when (microseconds since the epoch)."""

    def mail_of(self, saga_id: str) -> AbstractContextManager[asyncio.Event]:
        """An event that is set whenever mail may have come for a saga."""

    async def start_child(self, process: str, event: Message, parent: str) -> Journal:
        """Starts a saga for another; idempotent. Raises what Engine.start raises, but no overload."""

    async def cancel(self, saga_id: str) -> Journal:
        """Asks for a saga's no-go side, durably."""
