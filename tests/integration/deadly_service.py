"""Inventory, as `python -m services inventory` runs it, but for one customer whose orders kill the process.

Run as `python -P tests/integration/deadly_service.py`, with the settings of a service.
"""

from __future__ import annotations

import os
import signal

from eventbus import consumer
from mesh import lifecycle
from services.inventory.service import InventoryService
from services.participant import Step
from services.participant.host import host
from shop.inventory.v1.inventory_pb2 import ReserveStockRequest, ReserveStockResponse

DEADLY = "customer-who-kills"


class DeadlyInventory(InventoryService):
    def ReserveStock(self, request: ReserveStockRequest, step: Step) -> ReserveStockResponse:
        if request.order.customer_id == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().ReserveStock(request, step)


def main() -> None:
    consumer.APART_FROM = 2  # fewer deaths for the test to wait for
    lifecycle.run_part("inventory", lambda settings, life: host(DeadlyInventory(), settings, life))


if __name__ == "__main__":
    main()
