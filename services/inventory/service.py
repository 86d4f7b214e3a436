"""Holds stock for orders: per article, on hand + reserved stays what SetStock made it."""

from __future__ import annotations

from sqlalchemy import Connection

from services.inventory.tables import METADATA, give_back, reserve, select_stock, set_on_hand
from services.participant import Call, Refused, Step
from shop.inventory.v1.inventory_pb2 import (
    GetStockRequest,
    GetStockResponse,
    ReleaseStockRequest,
    ReleaseStockResponse,
    ReserveStockRequest,
    ReserveStockResponse,
    SetStockRequest,
    SetStockResponse,
    Stock,
)
from shop.inventory.v1.inventory_pb2_grpc import InventoryServiceServicer
from shop.orders.v1.order_pb2 import Order, OrderLine


class InventoryService(InventoryServiceServicer):
    """See shop/inventory/v1/inventory.proto."""

    tables = METADATA

    def ReserveStock(self, request: ReserveStockRequest, step: Step) -> ReserveStockResponse:
        """Holds every line, or (the transaction is the step's) none."""
        for line in _in_one_order(request.order):
            if not step.tx.execute(reserve(line.sku, line.quantity)).rowcount:
                raise Refused("OUT_OF_STOCK", sku=line.sku, quantity=line.quantity)
        return ReserveStockResponse(reservation_id=step.unique_id)

    def ReleaseStock(self, request: ReleaseStockRequest, step: Step) -> ReleaseStockResponse:
        """Puts every line back."""
        for line in _in_one_order(request.order):
            step.tx.execute(give_back(line.sku, line.quantity))
        return ReleaseStockResponse()

    def GetStock(self, request: GetStockRequest, call: Call) -> GetStockResponse:
        """Reads one article."""
        return GetStockResponse(stock=_stock(call.tx, request.sku))

    def SetStock(self, request: SetStockRequest, call: Call) -> SetStockResponse:
        """Sets one article, which need not exist."""
        call.tx.execute(set_on_hand(request.sku, request.on_hand))
        return SetStockResponse(stock=_stock(call.tx, request.sku))


def _in_one_order(order: Order) -> list[OrderLine]:
    """An order's lines by article: of two orders that lock articles in different ways round, neither would go on."""
    return sorted(order.lines, key=lambda line: line.sku)


def _stock(tx: Connection, sku: str) -> Stock:
    row = tx.execute(select_stock(sku)).one_or_none()
    return Stock(sku=sku, on_hand=row.on_hand, reserved=row.reserved) if row else Stock(sku=sku)
