"""Calls participants until their answers are definite (orchestrator.asking says which are).

All who call a participant share its retry budget (orchestrator.retry_budget) and its circuit (orchestrator.circuit):
the one bounds what retries add to its load, the other sends nothing where nobody answers. Both make a call wait, and
neither gives it up. Whoever wants to bound the whole of it cancels it.
"""

from __future__ import annotations

import asyncio
import random

from google.protobuf.descriptor import MethodDescriptor

from mesh.addresses import Addresses
from mesh.contract import Method, service_name
from orchestrator import circuit, retry_budget
from orchestrator.asking import Answer, Asking, Indefinite, Tell
from orchestrator.circuit import Circuit
from orchestrator.peer import Peer
from orchestrator.retry_budget import RetryBudget

__all__ = ["Answer", "Indefinite", "Participants"]


class Participants:
    """The services that sagas call, by their names in the mesh. Belongs to one event loop."""

    def __init__(
        self,
        addresses: Addresses,
        timeout_s: float,
        *,
        retry_ratio: float = retry_budget.RATIO,
        circuit_failures: int = circuit.FAILURES_MAX,
        rng: random.Random | None = None,
    ) -> None:
        self._addresses = addresses
        self._timeout_s = timeout_s
        self._retry_ratio = retry_ratio
        self._circuit_failures = circuit_failures
        self._rng = rng or random.Random()
        self._peers: dict[str, Peer] = {}
        # By descriptor, which is found by its identity: every step comes this way.
        self._by_method: dict[MethodDescriptor, Peer] = {}

    async def ask(
        self,
        method: Method,
        request: bytes,
        timeout_s: float | None,
        on_failure: Tell,
        on_pause: Tell,
    ) -> Answer:
        """Calls a method until it answers definitely; raises Indefinite. May be cancelled at any time.

        `timeout_s` bounds one try. Every failed try is told to `on_failure`. Where the call waits for a participant
        that is away or overloaded, `on_pause` is told why, once.
        """
        peer = self._by_method.get(method.descriptor) or self._find(method)
        peer.budget.deposit()
        timeout_s = timeout_s or method.timeout_s or self._timeout_s
        return await Asking(peer, method, request, timeout_s, on_failure, on_pause, self._rng).answer()

    async def close(self) -> None:
        """Ends the connections; calls under way are then in doubt."""
        await asyncio.gather(*(peer.close() for peer in self._peers.values()))

    def _find(self, method: Method) -> Peer:
        name = service_name(method.service)
        if name not in self._peers:
            shared = Circuit(name, self._circuit_failures, rng=self._rng), RetryBudget(self._retry_ratio)
            self._peers[name] = self._peer(name, *shared)
        peer = self._by_method[method.descriptor] = self._peers[name]
        return peer

    def _peer(self, name: str, circuit: Circuit, budget: RetryBudget) -> Peer:
        return Peer(name, self._addresses, circuit, budget)
