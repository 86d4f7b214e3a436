"""Makes what a plan says go wrong, and counts what really did."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from eventbus.streams import EVENTS
from eventbus.testing import Kind, ModelledBroker
from scripts.simulation.plan import Fault
from scripts.simulation.world import Seat, World

# A process that shall crash does so at one of its next callbacks, so many at most: some orders take as many.
CALLBACKS_MAX = 2000
LOSS_MAX = 0.3
SLOW_MAX = 200.0

Undo = Callable[[], Any]


def _nothing() -> None: ...


class Troubles:
    """Applies faults to a world, each for its time."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.happened: Counter[str] = Counter()
        self._world = world
        self._rng = rng
        self._kinds: dict[str, Callable[[Fault], Undo]] = {
            "crash": self._crash,
            "pause": self._pause,
            "restart": self._restart,
            "loss": self._loss,
            "held up": self._held_up,
            "slow": self._slow,
            "partition": self._partition,
            "disk full": self._disk_full,
            "answers of commits lost": self._answers_of_commits_lost,
            "broker killed": self._broker_killed,
            "broker loses power": self._broker_loses_power,
            "broker disk full": self._broker_disk_full,
            "broker disk empty": self._broker_disk_empty,
            "events purged": self._events_purged,
            "stream deleted": self._stream_deleted,
            "consumer deleted": self._consumer_deleted,
            "connection to the broker cut": self._connection_cut,
            "partition from the broker": self._partition_from_the_broker,
            "publishes lost": lambda fault: self._lost(Kind.PUBLISH, fault),
            "answers to publishes lost": lambda fault: self._lost(Kind.PUB_ACK, fault),
            "deliveries lost": lambda fault: self._lost(Kind.DELIVERY, fault),
            "acks lost": lambda fault: self._lost(Kind.ACK, fault),
            "delivered twice": lambda fault: self._set(world.losses, "twice", fault.much),
            "deliveries late": lambda fault: self._set(world.losses, "late", fault.much),
        }
        self.lost_unsynced = False  # the broker has lost what it had acknowledged
        self._broker_down = 0  # how many faults keep it down

    async def happen(self, fault: Fault) -> None:
        """One fault, from its beginning to its end."""
        self.happened[fault.kind] += 1
        undo = self._kinds[fault.kind](fault)
        await asyncio.sleep(fault.for_s)
        undo()

    def _seat(self, fault: Fault) -> Seat:
        return self._rng.choice(self._world.seats_of(fault.where))

    def _crash(self, fault: Fault) -> Undo:
        seat = self._seat(fault)
        assert seat.process is not None
        seat.rests_s = fault.for_s
        # Evenly on a scale of powers: right now, or in the midst of what comes.
        seat.process.dies_at = seat.process.callbacks + int(CALLBACKS_MAX**fault.much)
        return _nothing

    def _pause(self, fault: Fault) -> Undo:
        process = self._seat(fault).process
        assert process is not None
        process.pause()
        return process.resume

    def _restart(self, fault: Fault) -> Undo:
        seat = self._seat(fault)
        seat.rests_s = fault.for_s
        self._world.stop(seat)
        return _nothing

    def _loss(self, fault: Fault) -> Undo:
        return self._set(self._world.network.weather, "loss", fault.much * LOSS_MAX)

    def _held_up(self, fault: Fault) -> Undo:
        return self._set(self._world.network.weather, "held_up", fault.much * LOSS_MAX)

    def _slow(self, fault: Fault) -> Undo:
        slow, disk = self._world.network.weather.slow, self._world.disks.parts[fault.where]
        factor = SLOW_MAX**fault.much
        slow[fault.where] = disk.slow = factor

        def undo() -> None:
            slow[fault.where] = disk.slow = 1.0

        return undo

    def _partition(self, fault: Fault) -> Undo:
        sender, receiver = fault.where.split(">")
        self._world.network.sever((sender, receiver))
        return lambda: self._world.network.mend((sender, receiver))

    def _disk_full(self, fault: Fault) -> Undo:
        return self._set(self._world.disks.parts[fault.where], "full", True)

    def _answers_of_commits_lost(self, fault: Fault) -> Undo:
        return self._set(self._world.disks.parts[fault.where], "loses_answers", fault.much)

    # The broker

    def _broker_killed(self, _: Fault) -> Undo:
        return self._bring_down(lambda broker: broker.crash())

    def _broker_loses_power(self, _: Fault) -> Undo:
        self.lost_unsynced |= bool(self._world.plan.sync_every_s)
        return self._bring_down(lambda broker: broker.crash(power_cut=True))

    def _broker_disk_empty(self, _: Fault) -> Undo:
        def lose(broker: ModelledBroker) -> None:
            broker.crash()
            broker.empty_disk()

        return self._bring_down(lose)

    def _broker_disk_full(self, _: Fault) -> Undo:
        broker = self._world.broker
        broker.fill_disk()

        def undo() -> None:
            broker.free_disk()
            self._bring_down(lambda broker: broker.crash())()  # streams that met it stay dead until a restart

        return undo

    def _bring_down(self, how: Callable[[ModelledBroker], None]) -> Undo:
        broker = self._world.broker
        if broker.running:
            how(broker)
        self._broker_down += 1

        def undo() -> None:
            self._broker_down -= 1
            if not self._broker_down:
                broker.start()

        return undo

    def _events_purged(self, _: Fault) -> Undo:
        if EVENTS in self._world.broker.streams:
            self._world.broker.purge_stream(EVENTS)
        return _nothing

    def _stream_deleted(self, _: Fault) -> Undo:
        if EVENTS in self._world.broker.streams:
            self._world.broker.delete_stream(EVENTS)
        return _nothing

    def _consumer_deleted(self, fault: Fault) -> Undo:
        stream = self._world.broker.streams.get(EVENTS)
        if stream is not None and fault.where in stream.consumers:
            self._world.broker.delete_consumer(EVENTS, fault.where)
        return _nothing

    def _connection_cut(self, fault: Fault) -> Undo:
        client = self._seat(fault).client
        if client is not None:
            client.cut()
        return _nothing

    def _partition_from_the_broker(self, fault: Fault) -> Undo:
        client = self._seat(fault).client
        if client is None or not client.is_connected:
            return _nothing
        one_way = self._rng.choice(((True, True), (True, False), (False, True)))
        client.partition(up=one_way[0], down=one_way[1])
        return client.heal

    def _lost(self, kind: Kind, fault: Fault) -> Undo:
        lost = self._world.losses.lost
        lost[kind] = fault.much
        return lambda: lost.pop(kind, None)

    def _set(self, what: object, name: str, value: float) -> Undo:
        """Sets something that is off (zero) in good times."""
        setattr(what, name, value)
        return lambda: setattr(what, name, type(value)(0))
