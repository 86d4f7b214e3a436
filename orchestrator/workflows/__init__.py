"""Our workflows. A new one is imported here, which registers it."""

from orchestrator.workflows import fulfil_order, promise_delivery

__all__ = ["fulfil_order", "promise_delivery"]
