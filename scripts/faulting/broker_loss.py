"""The broker loses what it was given: a consumer is deleted, the stream is purged or deleted, its disk is empty.

One participant is stopped meanwhile, so that orders wait for what is lost.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

import nats
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import StreamInfo

from eventbus.streams import EVENTS
from mesh.addresses import BROKER
from orchestrator.__main__ import TRACKER
from scripts.faulting.fault import IMPATIENT, Fault
from scripts.faulting.ground import Ground
from services import SERVICES

STOPPED = ("inventory", "payments", "shipping")


class BrokerLoss(Fault):
    """What is lost was not delivered to its consumer yet; what a consumer has in its hands may be made known again."""

    name = "broker-loss"
    does = "in turn a consumer is deleted, the stream purged, the stream deleted, the broker's disk emptied"
    proof = ("consumers deleted", "streams purged", "streams deleted", "disks emptied", "undelivered events lost")
    orders_each = 8
    orders_stopped = 32  # so many more come while a participant is stopped
    orders_short = 160
    at_once = 40
    # More than that a stopped service has not got in its hands: the rest is the broker's to lose.
    settings: ClassVar = {**IMPATIENT, "ENSEMBLE_EVENTS_MAX": "4"}

    async def strike(self, ground: Ground) -> None:
        """See Fault."""
        losses = (_delete_the_consumer, _purge_the_stream, _delete_the_stream, _empty_the_disk)
        async for number in ground.moments(self.orders_each):
            stopped = ground.rng.choice(STOPPED)
            ground.send(stopped, signal.SIGSTOP)
            try:
                if not ground.orders.let_come(self.orders_stopped):
                    return
                await _backlog(ground, stopped)
                await losses[number % len(losses)](ground, stopped)
            finally:
                ground.send(stopped, signal.SIGCONT)
            await ground.until(lambda: _all_read(ground), what="every consumer to be made anew")


async def _all_read(ground: Ground) -> bool:
    """Whether the stream is there, and all consumers of it."""
    try:
        async with _jetstream(ground) as jetstream:
            found = {one.name for one in await jetstream.consumers_info(EVENTS)}
    except (NatsError, OSError):
        return False
    return found >= {*SERVICES, TRACKER}


async def _backlog(ground: Ground, durable: str) -> None:
    """Returns once there are events for a service that it has not been given."""

    async def is_there() -> bool:
        async with _jetstream(ground) as jetstream:
            return bool((await jetstream.consumer_info(EVENTS, durable)).num_pending)

    await ground.until(is_there, what=f"events that wait for {durable}")


async def _delete_the_consumer(ground: Ground, stopped: str) -> None:
    async with _jetstream(ground) as jetstream:
        before = await jetstream.consumer_info(EVENTS, stopped)
        await jetstream.delete_consumer(EVENTS, stopped)
        ground.send(stopped, signal.SIGCONT)

        async def anew() -> bool:
            try:
                after = await jetstream.consumer_info(EVENTS, stopped)
            except NatsError:
                return False
            return bool(after.created != before.created)

        await ground.until(anew, what=f"a new consumer of {stopped}")
    ground.counts["consumers deleted"] += 1


async def _purge_the_stream(ground: Ground, stopped: str) -> None:
    async with _jetstream(ground) as jetstream:
        lost = (await jetstream.consumer_info(EVENTS, stopped)).num_pending
        last = (await jetstream.stream_info(EVENTS)).state.last_seq
        await jetstream.purge_stream(EVENTS)
        gone = (await jetstream.stream_info(EVENTS)).state.first_seq > last
    ground.counts.update({"streams purged": gone, "undelivered events lost": lost})


async def _delete_the_stream(ground: Ground, stopped: str) -> None:
    async with _jetstream(ground) as jetstream:
        lost = (await jetstream.consumer_info(EVENTS, stopped)).num_pending
        before = await jetstream.stream_info(EVENTS)
        await jetstream.delete_stream(EVENTS)
    ground.counts.update({"streams deleted": await _made_anew(ground, before), "undelivered events lost": lost})


async def _empty_the_disk(ground: Ground, stopped: str) -> None:
    async with _jetstream(ground) as jetstream:
        lost = (await jetstream.consumer_info(EVENTS, stopped)).num_pending
        before = await jetstream.stream_info(EVENTS)
    pid = ground.send(BROKER, signal.SIGSTOP)  # or it would write again what is taken from under it
    shutil.rmtree(ground.place.data / "nats" / "jetstream")
    ground.send(BROKER, signal.SIGKILL)
    await ground.replaced(BROKER, pid)
    ground.counts.update({"disks emptied": await _made_anew(ground, before), "undelivered events lost": lost})


async def _made_anew(ground: Ground, before: StreamInfo) -> bool:
    """Whether another stream is there, which began with its first message."""
    after = await ground.until(lambda: _info(ground), what="the stream to be made anew")
    return after is not None and after.created != before.created


async def _info(ground: Ground) -> StreamInfo | None:
    try:
        async with _jetstream(ground) as jetstream:
            return await jetstream.stream_info(EVENTS)
    except (NatsError, OSError):
        return None


@asynccontextmanager
async def _jetstream(ground: Ground) -> AsyncIterator[JetStreamContext]:
    connection = await nats.connect(
        ground.mesh.nats_url, connect_timeout=2, allow_reconnect=False, error_cb=_say_nothing
    )
    try:
        yield connection.jetstream(timeout=2)
    finally:
        await connection.close()


async def _say_nothing(error: Exception) -> None:
    """It is raised, too; nats-py would print it besides."""
