"""Answers that find their caller gone: told in a line, and not as an error that nobody handled.

A caller that dies, or whose deadline passes, while its answer is being sent leaves gRPC with an answer that cannot be
sent. Mostly gRPC learns of the caller's end first, and ends the call without a word. Where it learns of the failure
first it logs an error with a traceback (grpc/grpc#32551; one in a thousand calls whose deadlines are as short as they
take). There is nothing to do: to its caller the call is in doubt, and asked again the ledger answers.
"""

from __future__ import annotations

import logging

from grpc._cython import cygrpc  # type: ignore[attr-defined]  # its stubs do not know it

GRPC_LOG = logging.getLogger("grpc._cython.cygrpc")

log = logging.getLogger(__name__)


def tell_in_a_line() -> None:
    """From now on in this process. Idempotent."""
    GRPC_LOG.addFilter(_is_unhandled)


def _is_unhandled(record: logging.LogRecord) -> bool:
    if record.exc_info is None or not isinstance(record.exc_info[1], cygrpc.ExecuteBatchError):
        return True
    log.info("an answer was not sent, as its caller is gone: %s", record.getMessage())
    return False
