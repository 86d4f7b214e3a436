"""Tells customers how their orders ended, from the public events of either style."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sql

from services.participant import Call, Step
from shop.notifications.v1.notifications_pb2 import (
    ListNotificationsRequest,
    ListNotificationsResponse,
    Notification,
    NotifyCustomerRequest,
    NotifyCustomerResponse,
)
from shop.notifications.v1.notifications_pb2_grpc import NotificationsServiceServicer
from shop.orders.v1.order_pb2 import OrderStatus

METADATA = sql.MetaData()

NOTIFICATIONS = sql.Table(
    "notifications",
    METADATA,
    sql.Column("notification_id", sql.String(36), primary_key=True),
    sql.Column("order_id", sql.String(64), nullable=False, index=True),
    sql.Column("customer_id", sql.String(64), nullable=False),
    sql.Column("status", sql.Integer, nullable=False),
    sql.Column("text", sql.String(500), nullable=False),
    sql.Column("sent_us", sql.BigInteger, nullable=False),  # microseconds since the epoch
)

TEXTS = {
    OrderStatus.ORDER_STATUS_COMPLETED: "Your order {order_id} is on its way.",
    OrderStatus.ORDER_STATUS_CANCELLED: "Your order {order_id} was cancelled. You are not charged.",
}


class NotificationsService(NotificationsServiceServicer):
    """See shop/notifications/v1/notifications.proto."""

    tables = METADATA

    def NotifyCustomer(self, request: NotifyCustomerRequest, step: Step) -> NotifyCustomerResponse:
        """Writes the message down; a mail provider would be given its id as idempotency key."""
        text = TEXTS.get(request.status, "Your order {order_id} has changed.")
        row = {
            "notification_id": step.unique_id,
            "order_id": request.order.order_id,
            "customer_id": request.order.customer_id,
            "status": request.status,
            "text": text.format(order_id=request.order.order_id),
            "sent_us": int(step.now.timestamp() * 1_000_000),
        }
        step.tx.execute(sql.insert(NOTIFICATIONS).values(row))
        return NotifyCustomerResponse(notification_id=step.unique_id)

    def ListNotifications(self, request: ListNotificationsRequest, call: Call) -> ListNotificationsResponse:
        """Reads an order's notifications."""
        theirs = sql.select(NOTIFICATIONS).where(NOTIFICATIONS.c.order_id == request.order_id)
        rows = call.tx.execute(theirs.order_by(NOTIFICATIONS.c.sent_us, NOTIFICATIONS.c.notification_id))
        return ListNotificationsResponse(notifications=[_notification(row) for row in rows])


def _notification(row: sql.Row[Any]) -> Notification:
    values = dict(row._mapping)
    sent_us = values.pop("sent_us")
    notification = Notification(**values)
    notification.sent.FromMicroseconds(sent_us)
    return notification
