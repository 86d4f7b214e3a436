"""What is left after the broker was killed, stopped, frozen, or robbed of its disk: on the model as on nats-server."""

from __future__ import annotations

import asyncio

import nats.errors
import pytest
from nats.js.errors import NotFoundError
from stage import Run, Scene, seen

WRITTEN_S = 0.25  # a consumer's state is written behind


def test_a_kill_leaves_messages_positions_and_counts(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer(ack_wait=0.4)
        for body in (b"1", b"2", b"3"):
            await scene.publish(body)
        one, two = await scene.take(2)
        await one.ack()
        await two.nak()
        await scene.settle()
        (two,) = await scene.take()
        assert seen(two) == (b"2", 2)
        await asyncio.sleep(WRITTEN_S)
        scene.server.kill()
        scene.server.start()
        await scene.back()
        state, info = await scene.state(), await scene.info()
        assert (state.messages, state.last_seq) == (3, 3)
        assert (info.num_pending, info.num_ack_pending, info.delivered.stream_seq) == (1, 1, 2)
        messages = await scene.take(2)
        assert sorted(map(seen, messages)) == [(b"2", 3), (b"3", 1)]
        assert (await scene.publish(b"4")).seq == 4

    run(play)


def test_after_a_kill_the_ack_wait_is_counted_from_the_whole_second_in_which_the_message_was_stored(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer(ack_wait=2.0)
        await scene.publish(b"1")
        stored_s = scene.now()
        stored = (await scene.js.get_msg(scene.name, 1)).time
        assert stored is not None
        await asyncio.sleep(0.3)
        await scene.take()
        await asyncio.sleep(WRITTEN_S)
        scene.server.kill()
        scene.server.start()
        restarted_s = scene.now()
        await scene.back()
        await (await scene.pull()).next()
        due_s = stored_s - stored.timestamp() % 1 + 2.0
        # It looks for the first time after 0.5 to 1.5 s.
        assert due_s - 0.05 < scene.now() < max(due_s, restarted_s + 1.5) + scene.server.late_s

    run(play)


def test_what_was_acknowledged_and_delivered_in_the_last_tenth_of_a_second_before_a_kill_is_forgotten(run: Run) -> None:
    async def play(scene: Scene) -> None:
        for body in (b"1", b"2", b"3"):
            await scene.publish(body)
        for attempt in range(5):
            name = f"worker-{attempt}"
            await scene.consumer(name, ack_wait=0.3)
            one, two = await scene.take(2, name=name)
            await asyncio.sleep(WRITTEN_S)
            began_s = scene.now()
            await one.ack_sync()  # this is written at once, after the quiet
            await asyncio.sleep(0.02)
            await two.ack_sync()
            (three,) = await scene.take(name=name)
            scene.server.kill()
            quick = scene.now() - began_s < 0.09
            scene.server.start()
            await scene.back()
            if quick:
                break
        else:
            pytest.skip("this machine is too busy to do that within a tenth of a second")
        info = await scene.info(name)
        assert (info.num_pending, info.num_ack_pending, info.delivered.stream_seq) == (1, 1, 2)
        await three.ack()  # of a delivery that the broker does not know of
        await scene.settle()
        assert sorted(map(seen, await scene.take(2, name=name))) == [(b"2", 2), (b"3", 1)]

    run(play)


def test_ids_are_known_after_a_kill_as_far_as_their_messages_are_there(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.publish(b"1", id="purged")
        await scene.js.purge_stream(scene.name)
        await scene.publish(b"2", id="kept")
        scene.server.kill()
        scene.server.start()
        await scene.back()
        assert (await scene.publish(b"2", id="kept")).duplicate
        anew = await scene.publish(b"1", id="purged")
        assert (anew.seq, anew.duplicate) == (3, None)

    run(play)


def test_the_open_request_dies_with_the_broker_and_the_subscription_does_not(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        asked = await scene.pull()
        await scene.settle()
        scene.server.kill()
        scene.server.start()
        await scene.back()
        await scene.publish(b"1")
        await asked.nothing(0.1)
        assert (await scene.info()).num_waiting == 0
        subject = asked.subscription.subject
        await scene.client.publish(subject, b"hello")
        assert (await asked.next())[1].data == b"hello"

    run(play)


def test_what_is_published_while_the_broker_is_away_is_in_doubt_and_comes_when_it_is_back(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.publish(b"1")
        scene.server.kill()
        await asyncio.sleep(0.1)
        assert not scene.client.is_connected
        with pytest.raises(nats.errors.TimeoutError):
            await scene.js.publish(f"{scene.name}.a", b"2", timeout=0.1)
        scene.server.start()
        await scene.back()
        await scene.settle()
        assert (await scene.state()).last_seq == 2

    run(play)


def test_a_broker_that_is_stopped_in_peace_forgets_nothing(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        await scene.publish(b"1")
        (message,) = await scene.take()
        await message.ack()
        await scene.settle()
        scene.server.stop()
        scene.server.start()
        await scene.back()
        info = await scene.info()
        assert (info.num_pending, info.num_ack_pending, info.ack_floor.stream_seq) == (0, 0, 1)

    run(play)


def test_a_broker_with_an_empty_disk_knows_nothing(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        await scene.publish(b"1", id="x")
        scene.server.kill()
        scene.server.empty_disk()
        scene.server.start()
        await scene.back()
        with pytest.raises(NotFoundError):
            await scene.state()
        await scene.make_stream()
        with pytest.raises(NotFoundError):
            await scene.info()
        anew = await scene.publish(b"1", id="x")
        assert (anew.seq, anew.duplicate) == (1, None)

    run(play)


def test_what_is_published_to_a_frozen_broker_is_in_doubt_and_stored_when_it_goes_on(run: Run) -> None:
    async def play(scene: Scene) -> None:
        scene.server.freeze()
        try:
            with pytest.raises(nats.errors.TimeoutError):
                await scene.js.publish(f"{scene.name}.a", b"1", timeout=0.1)
            assert scene.client.is_connected
        finally:
            scene.server.thaw()
        await scene.settle()
        assert (await scene.state()).last_seq == 1

    run(play)


def test_a_client_gives_a_frozen_broker_up_and_what_it_had_sent_is_stored_all_the_same(run: Run) -> None:
    async def play(scene: Scene) -> None:
        scene.server.freeze()
        try:
            with pytest.raises(nats.errors.TimeoutError):
                await scene.js.publish(f"{scene.name}.a", b"1", timeout=0.1)
            await asyncio.sleep(3 * 0.2 + 0.2)  # three pings
            assert not scene.client.is_connected
        finally:
            scene.server.thaw()
        await scene.back()
        await scene.publish(b"2")
        await asyncio.sleep(0.05)
        stored = [await scene.js.get_msg(scene.name, sequence) for sequence in (1, 2)]
        assert {message.data for message in stored} == {b"1", b"2"}

    run(play)
