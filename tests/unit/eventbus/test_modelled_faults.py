"""What can be done to the modelled broker and its clients, and what the project's own bus makes of it."""

from __future__ import annotations

import asyncio
import random
from contextvars import ContextVar

import pytest
from modelled_world import ACK_WAIT_S, Part, Scripted, World, play

from eventbus.bus import Unpublished
from eventbus.consumer import Delivery
from eventbus.streams import EVENTS
from eventbus.testing import Kind, ModelledBroker, ModelledClient
from mesh import virtual_time


class Weather:
    """A link on which everything may be late."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def arrivals(self, kind: Kind, subject: str) -> tuple[float, ...]:
        return (self._rng.uniform(0.0, 0.5),)


def test_clients_overtake_each_other_and_none_overtakes_itself() -> None:
    async def scene(world: World) -> None:
        parts = [await world.part(name, Weather(random.Random(name))) for name in "ab"]
        for number in range(20):
            for name, part in zip("ab", parts, strict=True):
                await part.client.publish("events.choreographed.test.v1.Happened", f"{name}{number}".encode())
        await asyncio.sleep(30)
        for name in "ab":
            own = [body.decode() for body in world.stored if body.decode().startswith(name)]
            assert own == [f"{name}{number}" for number in range(20)]
        assert world.stored != sorted(world.stored, key=lambda body: (int(body[1:]), body)), "none was overtaken"

    play(scene)


def test_a_publication_that_is_lost_is_stored_nowhere_and_is_in_doubt() -> None:
    async def scene(world: World) -> None:
        link = Scripted()
        part = await world.part(link=link)
        link.next(Kind.PUBLISH)
        with pytest.raises(Unpublished):
            await part.publish(b"1")
        assert world.stored == []

    play(scene)


def test_a_publication_whose_answer_is_lost_is_in_doubt_and_stored_once_when_it_is_repeated() -> None:
    async def scene(world: World) -> None:
        link = Scripted()
        part = await world.part(link=link)
        link.next(Kind.PUB_ACK)
        with pytest.raises(Unpublished):
            await part.publish(b"1")
        await part.publish(b"1")
        assert world.stored == [b"1"]

    play(scene)


def test_a_delivery_or_an_answer_that_is_lost_brings_the_message_again() -> None:
    async def scene(world: World) -> None:
        link = Scripted()
        part = await world.part(link=link)
        await part.consume()
        link.next(Kind.DELIVERY)
        await part.publish(b"1")
        await asyncio.sleep(ACK_WAIT_S + 1)
        assert part.seen == [(b"1", 2)]
        link.next(Kind.ACK)
        await part.publish(b"2")
        await asyncio.sleep(2 * ACK_WAIT_S)
        assert part.seen == [(b"1", 2), (b"2", 1), (b"2", 2)]

    play(scene)


def test_a_delivery_that_is_doubled_is_handled_twice_as_the_same_delivery() -> None:
    async def scene(world: World) -> None:
        link = Scripted()
        part = await world.part(link=link)
        await part.consume()
        link.next(Kind.DELIVERY, 0.0, 1.5)
        await part.publish(b"1")
        began_s = asyncio.get_running_loop().time()
        await asyncio.sleep(3)
        assert part.seen == [(b"1", 1), (b"1", 1)]
        assert part.times[1] - began_s == pytest.approx(1.5)

    play(scene)


def test_a_connection_that_breaks_is_made_again_and_consumption_goes_on() -> None:
    async def scene(world: World) -> None:
        part, other = await world.part(), await world.part("other")
        await part.consume()
        part.client.cut()
        await asyncio.sleep(0)
        assert (part.bus.connected, other.bus.connected) == (False, True)
        with pytest.raises(Unpublished):
            await part.publish(b"1")
        await other.publish(b"2")
        await asyncio.sleep(1)
        assert part.bus.connected
        assert part.bus.connections == 2
        assert part.seen == [(b"2", 1)]

    play(scene)


def test_what_is_published_into_a_partition_arrives_when_the_network_is_whole() -> None:
    async def scene(world: World) -> None:
        part = await world.part()
        part.client.partition(down=False)
        with pytest.raises(Unpublished):
            await part.publish(b"1")
        assert (world.stored, part.bus.connected) == ([], True)
        part.client.heal()
        await asyncio.sleep(0.1)
        assert world.stored == [b"1"]

    play(scene)


def test_what_is_published_where_only_answers_are_held_up_is_stored() -> None:
    async def scene(world: World) -> None:
        part = await world.part()
        part.client.partition(up=False)
        with pytest.raises(Unpublished):
            await part.publish(b"1")
        assert world.stored == [b"1"]

    play(scene)


def test_a_client_gives_a_partitioned_connection_up_and_what_it_sent_before_comes_late() -> None:
    async def scene(world: World) -> None:
        part, other = await world.part(), await world.part("other")
        await part.consume()
        part.client.partition()
        with pytest.raises(Unpublished):
            await part.publish(b"late")
        await asyncio.sleep(20)
        assert not part.bus.connected
        await other.publish(b"new")
        part.client.heal()
        await asyncio.sleep(ACK_WAIT_S + 5)
        assert part.bus.connected
        assert part.bus.connections == 2
        assert world.stored == [b"new", b"late"]
        assert {body for body, _ in part.seen} == {b"new", b"late"}

    play(scene)


def test_nothing_leaves_a_process_that_was_killed_and_its_replica_gets_what_it_had_in_work() -> None:
    async def scene(world: World) -> None:
        dying, replica, other = await world.part(), await world.part(), await world.part("other")

        async def die(_: Delivery) -> None:
            dying.client.abandon()

        await dying.consume(die)
        await other.publish(b"1")
        await asyncio.sleep(0.1)
        await replica.consume()
        await other.publish(b"2")
        with pytest.raises(Unpublished):
            await dying.publish(b"of a dead one")
        await asyncio.sleep(ACK_WAIT_S + 1)
        assert dying.seen == [(b"1", 1)]
        assert replica.seen == [(b"2", 1), (b"1", 2)]
        assert world.stored == [b"1", b"2"]

    play(scene)


@pytest.mark.parametrize(("sync_every_s", "left"), [(0.0, [b"1", b"2"]), (10.0, [b"1"])])
def test_a_power_cut_takes_what_was_not_synced(sync_every_s: float, left: list[bytes]) -> None:
    async def scene(world: World) -> None:
        part = await world.part()
        await part.consume()
        await part.publish(b"1")
        await asyncio.sleep(11)
        await part.publish(b"2")
        await asyncio.sleep(1)
        world.broker.crash(power_cut=True)
        world.broker.start()
        await asyncio.sleep(3)
        assert world.stored == left
        await part.publish(b"3")
        await asyncio.sleep(1)
        assert world.stored == [*left, b"3"]
        assert [body for body, _ in part.seen] == [b"1", b"2", b"3"]

    play(scene, sync_every_s=sync_every_s)


def test_where_the_disk_is_full_nothing_is_stored_until_there_is_room_and_the_broker_was_started_anew() -> None:
    async def scene(world: World) -> None:
        part = await world.part()
        await part.consume()
        await part.publish(b"1")
        world.broker.fill_disk()
        for _ in range(2):
            with pytest.raises(Unpublished):
                await part.publish(b"2")
            world.broker.free_disk()
        world.broker.crash()
        world.broker.start()
        await asyncio.sleep(2)
        await part.publish(b"2")
        assert world.stored == [b"1", b"2"]

    play(scene)


def test_a_consumer_that_is_reset_gets_everything_again() -> None:
    async def scene(world: World) -> None:
        part = await world.part()
        await part.consume()
        await part.publish(b"1")
        await asyncio.sleep(1)
        world.broker.reset_consumer(EVENTS, "tester")
        await asyncio.sleep(1)
        assert part.seen == [(b"1", 1), (b"1", 1)]

    play(scene)


def test_what_runs_for_a_client_runs_in_its_context_and_what_runs_for_the_broker_in_none() -> None:
    process: ContextVar[str] = ContextVar("process", default="none")
    noted: list[str] = []

    async def main() -> None:
        process.set("broker's maker")
        broker = ModelledBroker(random.Random(1))

        class Noting:
            def arrivals(self, kind: Kind, subject: str) -> tuple[float, ...]:
                noted.append(f"{process.get()} sends {kind.name}")
                return (0.01,)

        async def reconnected() -> None:
            noted.append(f"{process.get()} is back")

        async def run() -> None:
            process.set("one")
            client = ModelledClient(broker, Noting())
            await client.connect(reconnected_cb=reconnected)
            await client.jetstream().add_stream(name="S", subjects=["s"])
            await client.jetstream().publish("s")

        await asyncio.create_task(run())
        process.set("killer")
        broker.crash()
        broker.start()
        await asyncio.sleep(1)

    virtual_time.run(main)
    ups = {note for note in noted if note.endswith(("PUBLISH", "REQUEST"))}
    downs = {note for note in noted if note.endswith(("PUB_ACK", "REPLY"))}
    assert ups == {"one sends PUBLISH", "one sends REQUEST"}
    assert downs == {"none sends PUB_ACK", "none sends REPLY"}
    assert "one is back" in noted


def test_the_same_seed_does_the_same() -> None:
    def run(seed: int) -> list[tuple[bytes, int, float]]:
        seen: list[tuple[bytes, int, float]] = []

        async def scene(world: World) -> None:
            rng = random.Random(seed)
            parts: list[Part] = [await world.part(name, Weather(rng)) for name in "abc"]
            for part in parts:
                await part.consume()
            for number in range(10):
                with_luck = parts[number % 3].publish(b"%d" % number)
                await asyncio.gather(with_luck, return_exceptions=True)
                if number == 5:
                    world.broker.crash()
                    world.broker.start()
            await asyncio.sleep(20)
            for part in parts:
                for (body, deliveries), time in zip(part.seen, part.times, strict=True):
                    seen.append((body, deliveries, time))

        random.seed(seed)  # the bus itself draws its delays from here
        play(scene)
        return seen

    assert run(1) == run(1)
    assert run(1) != run(2)
