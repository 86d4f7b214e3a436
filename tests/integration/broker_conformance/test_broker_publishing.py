"""What becomes of a message that is published: on the model as on nats-server."""

from __future__ import annotations

import asyncio

import nats.errors
import pytest
from nats.js.errors import APIError, BadRequestError, NoStreamResponseError, NotFoundError
from stage import Run, Scene

from tests.harness import eventually

WINDOW_S = 0.3


def test_messages_are_numbered_as_they_come(run: Run) -> None:
    async def play(scene: Scene) -> None:
        empty = await scene.state()
        assert (empty.messages, empty.first_seq, empty.last_seq) == (0, 0, 0)
        acks = [await scene.publish(b"x") for _ in range(3)]
        assert [(ack.stream, ack.seq, ack.duplicate) for ack in acks] == [(scene.name, n, None) for n in (1, 2, 3)]
        state = await scene.state()
        assert (state.messages, state.first_seq, state.last_seq) == (3, 1, 3)

    run(play)


def test_an_id_is_known_within_the_window_and_a_repetition_does_not_prolong_it(run: Run) -> None:
    async def play(scene: Scene) -> None:
        began = scene.now()
        assert (await scene.publish(b"1", id="x")).seq == 1
        await asyncio.sleep(WINDOW_S * 0.6)
        repeated = await scene.publish(b"other", "b", id="x")  # the window is the stream's and not the subject's
        assert (repeated.seq, repeated.duplicate) == (1, True)
        await asyncio.sleep(began + WINDOW_S * 1.4 - scene.now())
        anew = await scene.publish(b"1", id="x")
        assert (anew.seq, anew.duplicate) == (2, None)

    run(play, duplicate_window=WINDOW_S)


def test_an_id_is_known_though_its_message_was_purged_or_deleted(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.publish(b"1", id="x")
        await scene.publish(b"2", id="y")
        await scene.js.delete_msg(scene.name, 1)
        assert (await scene.publish(b"1", id="x")).duplicate
        await scene.js.purge_stream(scene.name)
        assert (await scene.publish(b"1", id="x")).duplicate
        assert (await scene.publish(b"2", id="y")).duplicate
        state = await scene.state()
        assert (state.messages, state.first_seq, state.last_seq) == (0, 3, 2)
        assert (await scene.publish(b"3")).seq == 3

    run(play)


def test_a_stream_that_is_made_anew_knows_nothing(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.publish(b"1", id="x")
        await scene.publish(b"2")
        await scene.js.delete_stream(scene.name)
        with pytest.raises(NoStreamResponseError):
            await scene.publish(b"3")
        with pytest.raises(NotFoundError) as missing:
            await scene.state()
        assert missing.value.err_code == 10059
        await scene.make_stream()
        anew = await scene.publish(b"1", id="x")
        assert (anew.seq, anew.duplicate) == (1, None)

    run(play)


def test_making_a_stream_is_idempotent_and_what_differs_is_refused_or_updated(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.make_stream()
        with pytest.raises(BadRequestError) as other:
            await scene.make_stream(max_age=60)
        assert other.value.err_code == 10058
        with pytest.raises(BadRequestError) as overlap:
            await scene.js.add_stream(name=f"{scene.name}X", subjects=[f"{scene.name}.b.>"])
        assert overlap.value.err_code == 10065
        updated = await scene.js.update_stream(name=scene.name, subjects=[f"{scene.name}.b.>"], max_age=60)
        assert (updated.config.subjects, updated.config.max_age) == ([f"{scene.name}.b.>"], 60)
        with pytest.raises(NoStreamResponseError):
            await scene.publish(b"1", "a")
        assert (await scene.publish(b"1", "b.c")).seq == 1

    run(play)


def test_messages_are_found_by_sequence_and_by_subject(run: Run) -> None:
    async def play(scene: Scene) -> None:
        for number, subject in enumerate(("a", "b", "a"), 1):
            await scene.publish(str(number).encode(), subject)
        js, name = scene.js, scene.name
        assert (await js.get_msg(name, 2)).subject == f"{name}.b"
        assert (await js.get_last_msg(name, f"{name}.a")).seq == 3
        assert (await js.get_msg(name, 2, subject=f"{name}.a", next=True)).seq == 3
        assert (await js.get_msg(name, 2, subject=f"{name}.*", next=True)).data == b"2"
        await js.delete_msg(name, 2)
        for sought in (
            {"seq": 2},
            {"seq": 9},
            {"subject": f"{name}.b"},
            {"seq": 4, "subject": f"{name}.a", "next": True},
        ):
            with pytest.raises(NotFoundError) as missing:
                await js.get_msg(name, **sought)
            assert missing.value.err_code == 10037
        info = await js.stream_info(name, subjects_filter=f"{name}.>")
        assert info.state.subjects == {f"{name}.a": 2}
        assert (info.state.messages, info.state.first_seq) == (2, 1)

    run(play)


def test_what_is_gone_cannot_be_deleted(run: Run) -> None:
    async def play(scene: Scene) -> None:
        for _ in range(4):
            await scene.publish(b"x")
        for sequence in (1, 3):
            await scene.js.delete_msg(scene.name, sequence)
        for sequence, code in ((1, 10057), (3, 10043), (9, 10057)):  # before the first one, a hole, not there yet
            with pytest.raises(APIError) as gone:
                await scene.js.delete_msg(scene.name, sequence)
            assert gone.value.err_code == code

    run(play)


def test_messages_go_when_they_are_too_old(run: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        await scene.publish(b"1")
        await scene.publish(b"2")
        await scene.take()

        async def gone() -> bool:
            return (await scene.state()).messages == 0

        await eventually(gone, within_s=5)
        assert await scene.none_left()
        info = await scene.info()
        assert (info.num_pending, info.num_ack_pending) == (0, 0)

    run(play, max_age=0.1, duplicate_window=0.1)


def test_headers_come_out_in_one_line_and_without_blanks_around(run: Run) -> None:
    async def play(scene: Scene) -> None:
        headers = {"One": "  a\r\nb  ", "Two": "é—ü", "Three": ""}
        await scene.js.publish(f"{scene.name}.a", b"x", headers=headers)
        await scene.consumer()
        (message,) = await scene.take()
        assert message.headers == {"One": "a  b", "Two": "é—ü", "Three": ""}
        assert (await scene.js.get_msg(scene.name, 1)).data == b"x"

    run(play)


def test_who_listens_to_a_streams_subject_gets_its_messages_too(run: Run) -> None:
    async def play(scene: Scene) -> None:
        heard = await scene.client.subscribe(f"{scene.name}.>")
        await scene.publish(b"1", "a.b")
        message = await heard.next_msg()
        assert (message.subject, message.data) == (f"{scene.name}.a.b", b"1")
        await heard.unsubscribe()
        await scene.client.publish(f"{scene.name}.quiet", b"2")  # nobody asked for an answer
        await scene.settle()
        assert (await scene.state()).messages == 2

    run(play)


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(run: Run) -> None:
    async def play(scene: Scene) -> None:
        with pytest.raises(nats.errors.MaxPayloadError):
            await scene.publish(b"x" * ((1 << 20) + 1))
        assert (await scene.publish(b"x" * (1 << 20))).seq == 1

    run(play)


def test_a_message_that_is_larger_than_the_stream_takes_is_refused_headers_included(run: Run) -> None:
    async def play(scene: Scene) -> None:
        assert (await scene.publish(b"x" * 1000)).seq == 1
        for body, id in ((b"x" * 1001, ""), (b"x" * 990, "i")):
            with pytest.raises(BadRequestError) as too_large:
                await scene.publish(body, id=id)
            assert too_large.value.err_code == 10054
        await scene.client.publish(f"{scene.name}.a", b"x" * 1001)
        assert (await scene.publish(b"x" * (1000 - 28), id="i")).seq == 2  # NATS/1.0, Nats-Msg-Id: i, and an empty line

    run(play, max_msg_size=1000)


def test_who_sends_more_than_the_broker_takes_loses_the_connection_for_good(run: Run) -> None:
    async def play(scene: Scene) -> None:
        assert (await scene.publish(b"x" * ((1 << 20) - 28), id="i")).seq == 1
        with pytest.raises(nats.errors.TimeoutError):
            await scene.js.publish(
                f"{scene.name}.a", b"x" * ((1 << 20) - 27), headers={"Nats-Msg-Id": "j"}, timeout=0.3
            )
        assert scene.client.is_closed

    run(play)
