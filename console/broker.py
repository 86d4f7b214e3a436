"""A connection to the broker of a mesh, for commands: they give up soon, where the parts of a mesh try for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats.errors

from eventbus.bus import EventBus, Unpublished
from mesh.addresses import Addresses
from mesh.settings import Settings

CONNECT_S = 4.0


class NoBroker(ConnectionError):
    """The broker cannot be reached, or went away."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(
            f"the broker at {url} {why}; `ensemble status` shows what runs, ENSEMBLE_NATS_URL names one that runs "
            "elsewhere"
        )


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[EventBus]:
    """A bus whose streams exist; raises UnknownAddress and NoBroker."""
    # What the bus says of every try would stand between the lines of the command.
    logging.getLogger("eventbus").addHandler(logging.NullHandler())
    url = Addresses(settings).nats_url()
    bus = EventBus(url, "console")
    try:
        try:
            async with asyncio.timeout(CONNECT_S):
                await bus.run()
        except TimeoutError:
            raise NoBroker(url, f"does not answer within {CONNECT_S:.0f} s") from None
        yield bus
    except (nats.errors.Error, Unpublished) as error:
        raise NoBroker(url, f"does not answer now ({' '.join(str(error).split()) or type(error).__name__})") from None
    finally:
        await bus.close()
