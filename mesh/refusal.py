"""The event of a refusal: filled from the request, and from the refusal as a google.rpc.ErrorInfo named `refusal`."""

from __future__ import annotations

from google.protobuf.message import Message
from google.rpc import error_details_pb2

from ensemble.coordination.v1 import coordination_pb2
from mesh.contract import Contract, Method
from mesh.projection import project


def refusal_event(
    contract: Contract, method: Method, request: Message, refusal: error_details_pb2.ErrorInfo
) -> Message:
    """What a method publishes when it refuses."""
    source = coordination_pb2.Refusal(refusal=refusal)
    return project(contract.events[method.refuses].message_class, request, source)
