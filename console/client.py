"""Connections to the parts of a running mesh."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

import grpc.aio

from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceStub
from mesh.addresses import Addresses
from mesh.settings import Settings
from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceStub
from shop.notifications.v1.notifications_pb2_grpc import NotificationsServiceStub
from shop.orders.v1.orders_pb2_grpc import OrdersServiceStub
from shop.payments.v1.payments_pb2_grpc import PaymentsServiceStub

if TYPE_CHECKING:  # the generated stubs have their async form for type checkers only
    from ensemble.orchestrator.v1.orchestrator_pb2_grpc import OrchestratorServiceAsyncStub
    from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceAsyncStub
    from shop.notifications.v1.notifications_pb2_grpc import NotificationsServiceAsyncStub
    from shop.orders.v1.orders_pb2_grpc import OrdersServiceAsyncStub
    from shop.payments.v1.payments_pb2_grpc import PaymentsServiceAsyncStub


class MeshClient:
    """Stubs of the services that the console talks to. For use in `async with`."""

    def __init__(self, settings: Settings) -> None:
        self._addresses = Addresses(settings)
        self._channels: dict[str, grpc.aio.Channel] = {}

    def channel(self, name: str) -> grpc.aio.Channel:
        """The channel to a part; raises UnknownAddress."""
        if name not in self._channels:
            self._channels[name] = self._addresses.channel(name)
        return self._channels[name]

    @property
    def orders(self) -> OrdersServiceAsyncStub:
        """The orders service."""
        return OrdersServiceStub(self.channel("orders"))

    @property
    def inventory(self) -> InventoryServiceAsyncStub:
        """The inventory service."""
        return InventoryServiceStub(self.channel("inventory"))

    @property
    def payments(self) -> PaymentsServiceAsyncStub:
        """The payments service."""
        return PaymentsServiceStub(self.channel("payments"))

    @property
    def notifications(self) -> NotificationsServiceAsyncStub:
        """The notifications service."""
        return NotificationsServiceStub(self.channel("notifications"))

    @property
    def orchestrator(self) -> OrchestratorServiceAsyncStub:
        """The orchestrator."""
        return OrchestratorServiceStub(self.channel("orchestrator"))

    async def __aenter__(self) -> MeshClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Lets go of all connections; what is under way on them is cancelled."""
        for channel in self._channels.values():
            await channel.close()
