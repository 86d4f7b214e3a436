"""Work that goes on to its end, whether or not whoever asked for it still waits.

asyncio.shield alone forgets the work when its caller is cancelled: should it fail afterwards, asyncio logs it as an
error that nobody retrieved, though the caller, who is in doubt, asks again, and is then told.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TypeVar

from mesh.errors import MeshError

T = TypeVar("T")

log = logging.getLogger(__name__)


async def to_its_end(work: asyncio.Future[T]) -> T:
    """Waits for work that a cancellation of the caller does not end.

    Errors go to the caller. Where that is gone, ours are left unsaid, and others logged.
    """
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        work.add_done_callback(_take_note)
        raise


def _take_note(work: asyncio.Future[T]) -> None:
    if not work.cancelled() and (error := work.exception()) is not None and not isinstance(error, MeshError):
        log.error("a work failed whose caller is gone", exc_info=error)
