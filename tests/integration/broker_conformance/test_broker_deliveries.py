"""What becomes of a message that was delivered: on the model as on nats-server."""

from __future__ import annotations

import asyncio
import json

import nats.errors
import pytest
from nats.js.errors import BadRequestError
from stage import Run, Scene, seen

ACK_WAIT_S = 0.15


def test_messages_come_in_order_with_what_the_broker_knows_of_them(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        for body in (b"1", b"2", b"3"):
            await scene.publish(body)
        messages = await scene.take(3)
        assert [message.data for message in messages] == [b"1", b"2", b"3"]
        for number, message in enumerate(messages, 1):
            metadata = message.metadata
            assert (metadata.sequence.stream, metadata.sequence.consumer) == (number, number)
            assert (metadata.num_delivered, metadata.num_pending) == (1, 3 - number)
            assert (metadata.stream, metadata.consumer) == (scene.name, "worker")
            stored = await scene.js.get_msg(scene.name, number)
            assert stored.time is not None
            assert abs(stored.time.timestamp() - metadata.timestamp.timestamp()) < 1e-5
            assert message.subject == f"{scene.name}.a"
        info = await scene.info()
        assert (info.num_pending, info.num_ack_pending, info.delivered.stream_seq) == (0, 3, 3)

    run(play)


def test_what_is_acknowledged_does_not_come_again_and_what_is_not_does_before_what_is_new(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer(ack_wait=ACK_WAIT_S)
        for body in (b"1", b"2"):
            await scene.publish(body)
        first, _ = await scene.take(2)
        await first.ack()
        await asyncio.sleep(ACK_WAIT_S + 0.1)
        await scene.publish(b"3")
        again, new = await scene.take(2)
        assert [seen(again), seen(new)] == [(b"2", 2), (b"3", 1)]
        assert (again.metadata.sequence.stream, again.metadata.sequence.consumer) == (2, 3)
        await again.ack()
        await new.ack()
        await scene.settle()
        info = await scene.info()
        assert (info.num_ack_pending, info.ack_floor.stream_seq, info.ack_floor.consumer_seq) == (0, 3, 4)

    run(play)


def test_the_ack_wait_runs_from_the_delivery(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer(ack_wait=ACK_WAIT_S)
        await scene.publish(b"1")
        await asyncio.sleep(ACK_WAIT_S)
        await scene.take()
        after_s, again = await (await scene.pull()).next()
        assert scene.on_time(after_s, ACK_WAIT_S)
        assert seen(again) == (b"1", 2)

    run(play)


def test_a_nak_brings_it_again_at_once_and_counts(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        await scene.publish(b"1")
        for deliveries in (1, 2, 3):
            (message,) = await scene.take()
            assert seen(message) == (b"1", deliveries)
            await message.nak()

    run(play)


def test_a_nak_with_a_delay_brings_it_again_after_it(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer(ack_wait=10.0)
        await scene.publish(b"1")
        (message,) = await scene.take()
        await message.nak(delay=0.2)
        after_s, again = await (await scene.pull()).next()
        assert scene.on_time(after_s, 0.2)
        assert seen(again) == (b"1", 2)

    run(play)


def test_a_nak_may_delay_for_longer_than_the_ack_wait(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer(ack_wait=0.1)
        await scene.publish(b"1")
        (message,) = await scene.take()
        await message.nak(delay=0.3)
        after_s, _ = await (await scene.pull()).next()
        assert scene.on_time(after_s, 0.3)

    run(play)


def test_a_nak_after_the_acknowledgement_and_a_second_one_bring_nothing(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        for body in (b"1", b"2"):
            await scene.publish(body)
        one, two = await scene.take(2)
        await one.ack()
        await scene.client.publish(one.reply, b"-NAK")
        await two.nak()
        await scene.client.publish(two.reply, b"-NAK")
        await scene.settle()
        (again,) = await scene.take()
        assert seen(again) == (b"2", 2)
        assert await scene.none_left()

    run(play)


def test_work_in_progress_lets_the_ack_wait_begin_again(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer(ack_wait=0.3)
        await scene.publish(b"1")
        (message,) = await scene.take()
        asked = await scene.pull()
        for _ in range(2):
            await asyncio.sleep(0.15)
            await message.in_progress()
        after_s, again = await asked.next()
        assert scene.on_time(after_s, 0.6)
        assert seen(again) == (b"1", 2)

    run(play)


def test_term_ends_it(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer(ack_wait=ACK_WAIT_S)
        await scene.publish(b"1")
        (message,) = await scene.take()
        await message.term()
        await (await scene.pull()).nothing(ACK_WAIT_S + 0.1)
        assert (await scene.info()).num_ack_pending == 0
        assert (await scene.state()).messages == 1

    run(play)


def test_a_late_acknowledgement_ends_the_redelivery_too(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer(ack_wait=ACK_WAIT_S)
        await scene.publish(b"1")
        (first,) = await scene.take()
        (second,) = await scene.take()
        assert seen(second) == (b"1", 2)
        await first.ack()
        await (await scene.pull()).nothing(ACK_WAIT_S + 0.1)
        assert (await scene.info()).num_ack_pending == 0

    run(play)


def test_a_late_acknowledgement_before_anybody_asks_keeps_it_from_coming_again(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer(ack_wait=0.1)
        await scene.publish(b"1")
        (first,) = await scene.take()
        await asyncio.sleep(0.2)
        await first.ack()
        await scene.settle()
        assert await scene.none_left()

    run(play)


def test_an_acknowledgement_is_answered_where_that_is_asked(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        await scene.publish(b"1")
        (message,) = await scene.take()
        assert (await message.ack_sync()).data == b""
        assert (await scene.client.request(message.reply, b"+ACK")).data == b""  # once more
        never = message.reply.split(".")
        never[5] = "7"
        with pytest.raises(nats.errors.TimeoutError):
            await scene.client.request(".".join(never), b"+ACK", timeout=0.2)
        await scene.js.delete_consumer(scene.name, "worker")
        with pytest.raises(nats.errors.NoRespondersError):
            await scene.client.request(message.reply, b"+ACK")

    run(play)


def test_after_the_last_delivery_it_comes_no_more_which_is_said_when_somebody_asks(run: Run) -> None:
    async def play(scene: Scene) -> None:
        subject = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{scene.name}.worker"
        said = await scene.client.subscribe(subject)
        await scene.consumer(ack_wait=0.1, max_deliver=2)
        await scene.publish(b"1")
        await scene.publish(b"2")
        (one,) = await scene.take()
        assert seen(one) == (b"1", 1)
        await asyncio.sleep(0.15)
        (again,) = await scene.take()
        assert seen(again) == (b"1", 2)
        await asyncio.sleep(0.2)
        with pytest.raises(nats.errors.TimeoutError):  # nobody asks: nothing is said
            await said.next_msg(timeout=0.01)
        assert (await scene.info()).num_ack_pending == 1
        (two,) = await scene.take()
        assert seen(two) == (b"2", 1)
        await two.ack()
        advisory = json.loads((await said.next_msg(timeout=1)).data)
        assert (advisory["stream"], advisory["consumer"]) == (scene.name, "worker")
        assert (advisory["stream_seq"], advisory["deliveries"]) == (1, 2)
        assert await scene.none_left()
        info = await scene.info()
        assert (info.num_pending, info.num_ack_pending, info.num_redelivered) == (0, 0, 1)
        assert (await scene.state()).messages == 2
        with pytest.raises(nats.errors.TimeoutError):  # it is said once
            await said.next_msg(timeout=0.15)

    run(play)


def test_where_there_is_one_delivery_its_end_is_said_by_itself_and_a_stream_may_keep_that(run: Run) -> None:
    async def play(scene: Scene) -> None:
        subject = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{scene.name}.worker"
        said = await scene.client.subscribe(subject)
        await scene.js.add_stream(name=f"{scene.name}X", subjects=[subject])
        await scene.consumer(ack_wait=0.1, max_deliver=1)
        await scene.publish(b"1")
        await scene.take()
        advisory = json.loads((await said.next_msg(timeout=2)).data)
        assert (advisory["stream_seq"], advisory["deliveries"]) == (1, 1)
        await scene.settle()
        assert json.loads((await scene.js.get_msg(f"{scene.name}X", 1)).data or b"") == advisory
        assert (await scene.info()).num_ack_pending == 0
        await scene.js.delete_stream(f"{scene.name}X")

    run(play)


def test_nothing_new_comes_while_too_much_is_unanswered_but_what_comes_again_does(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer(max_ack_pending=2)
        for body in (b"1", b"2", b"3"):
            await scene.publish(body)
        one, two = await scene.take(2)
        asked = await scene.pull(2)
        await asked.nothing(0.1)
        await one.nak()
        again = await asked.message()
        assert seen(again) == (b"1", 2)
        await asked.nothing(0.1)
        await two.ack()
        assert seen(await asked.message()) == (b"3", 1)

    run(play)


def test_a_consumer_gets_what_its_filters_take_and_new_filters_keep_its_position(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer(subjects=["a", "b"])
        for subject in ("a", "c", "b", "c", "a"):
            await scene.publish(subject.encode(), subject)
        assert [message.data for message in await scene.take(3)] == [b"a", b"b", b"a"]
        assert await scene.none_left()
        await scene.consumer(subjects=["a", "b", "c"])
        assert await scene.none_left()
        assert (await scene.info()).num_ack_pending == 3
        await scene.publish(b"c", "c")
        (new,) = await scene.take()
        assert (new.data, new.metadata.sequence.stream) == (b"c", 6)
        await scene.consumer(subjects=["c", "d"])  # what was delivered and is not its own any more
        await new.ack()
        await scene.settle()
        assert (await scene.info()).num_ack_pending == 3

    run(play)


def test_filters_that_overlap_are_refused_and_so_is_another_deliver_policy(run: Run) -> None:
    async def play(scene: Scene) -> None:
        with pytest.raises(BadRequestError) as overlap:
            await scene.consumer(subjects=["a.>", "a.b"])
        assert overlap.value.err_code == 10138
        await scene.consumer(subjects=["a.*", "b"])
        await scene.consumer(subjects=["a.*", "b"])

    run(play)


def test_the_requests_of_replicas_are_answered_in_turn_and_one_that_nobody_hears_is_forgotten(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        one, other, deaf = await scene.pull(2), await scene.pull(3), await scene.pull(5)
        await deaf.end()
        await scene.settle()
        for number in range(5):
            await scene.publish(str(number).encode())
        assert [(await one.message()).data for _ in range(2)] == [b"0", b"2"]
        assert [(await other.message()).data for _ in range(3)] == [b"1", b"3", b"4"]
        info = await scene.info()
        assert (info.num_waiting, info.num_ack_pending) == (0, 5)

    run(play)


def test_what_is_deleted_or_purged_does_not_come_again(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer(ack_wait=0.1)
        for body in (b"1", b"2", b"3", b"4"):
            await scene.publish(body)
        await scene.take(2)
        await scene.js.delete_msg(scene.name, 1)
        await asyncio.sleep(0.15)
        (again,) = await scene.take()
        assert seen(again) == (b"2", 2)
        await scene.js.purge_stream(scene.name)
        await asyncio.sleep(0.15)
        assert await scene.none_left()
        info = await scene.info()
        assert (info.num_pending, info.num_ack_pending, info.ack_floor.stream_seq) == (0, 0, 4)
        await scene.publish(b"5")
        (new,) = await scene.take()
        assert (seen(new), new.metadata.sequence.stream) == ((b"5", 1), 5)

    run(play)
