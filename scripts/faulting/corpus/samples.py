"""Messages that break no rule: what a message is before one thing about it is made wrong."""

from __future__ import annotations

from typing import Any

from google.protobuf import any_pb2, duration_pb2, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from console.orders import DEFAULT_SKU, an_order
from mesh.settings import EVENTS_KEPT_S
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.orders.v1.order_pb2 import Order

TEXT = "poison"


def sample(message: Descriptor, order: Order) -> Message:
    """A message about an order, with something in every field."""
    made = message_factory.GetMessageClass(message)()
    for field in message.fields:
        if field.message_type is not None and not field.is_repeated:
            _fill(made, field, order)
        elif field.type == FieldDescriptor.TYPE_STRING and field.is_repeated:
            getattr(made, field.name).append(TEXT)
        elif field.type == FieldDescriptor.TYPE_STRING:
            setattr(made, field.name, TEXT)
        elif field.enum_type is not None:
            setattr(made, field.name, field.enum_type.values[-1].number)
    return made


def good_order() -> Order:
    """An order that nobody refuses."""
    return an_order(sku=DEFAULT_SKU, token="tok_visa", country="DE")


def _fill(made: Message, field: Any, order: Order) -> None:
    below = getattr(made, field.name)
    if isinstance(below, Order):
        below.CopyFrom(order)
    elif isinstance(below, any_pb2.Any):
        below.Pack(OrderPlaced(order=order))
    elif isinstance(below, duration_pb2.Duration):
        below.seconds = EVENTS_KEPT_S
    else:
        below.CopyFrom(sample(field.message_type, order))
