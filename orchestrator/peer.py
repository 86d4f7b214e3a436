"""One participant as the engine meets it: the connection, and what all who call it share."""

from __future__ import annotations

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor

from mesh.addresses import Addresses
from mesh.contract import Method
from orchestrator.circuit import Circuit
from orchestrator.retry_budget import RetryBudget


class Peer:
    """A service of the mesh. Belongs to one event loop."""

    def __init__(self, name: str, addresses: Addresses, circuit: Circuit, budget: RetryBudget) -> None:
        self.circuit = circuit
        self.budget = budget
        self._name = name
        self._addresses = addresses
        self._channel: grpc.aio.Channel | None = None
        # By descriptor, which is found by its identity: a method's path is put together each time.
        self._calls: dict[MethodDescriptor, grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = {}

    def call(self, method: Method) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
        """What calls a method, over a channel that is made when it is first needed; raises UnknownAddress."""
        found = self._calls.get(method.descriptor)
        if found is None:
            if self._channel is None:
                self._channel = self._addresses.channel(self._name)
            found = self._calls[method.descriptor] = self._channel.unary_unary(method.path)
        return found

    async def close(self) -> None:
        """Ends the connection."""
        if self._channel is not None:
            await self._channel.close()
