"""What a full disk and a power cut do to the broker: on the model as on nats-server with a small disk of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import nats.errors
import pytest
from stage import Run, Scene, on_nats_server_with_a_disk, on_the_model, seen


@pytest.fixture(params=["modelled", "nats-server"])
def run_on_a_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    return on_the_model if request.param == "modelled" else on_nats_server_with_a_disk(tmp_path)


async def fails(scene: Scene, id: str) -> None:
    with pytest.raises(nats.errors.TimeoutError):
        await scene.js.publish(f"{scene.name}.a", b"x" * 4096, headers={"Nats-Msg-Id": id}, timeout=0.2)


def test_where_the_disk_is_full_the_stream_stores_nothing_until_there_is_room_and_it_is_started_anew(
    run_on_a_disk: Run,
) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer()
        for body in (b"1", b"2"):
            await scene.publish(body, id=body.decode())
        scene.server.fill_disk()
        await fails(scene, "full")
        await fails(scene, "full")
        assert (await scene.publish(b"1", id="1")).duplicate
        (message,) = await scene.take()
        assert seen(message) == (b"1", 1)
        scene.server.free_disk()
        await fails(scene, "free")
        assert (await scene.state()).last_seq == 2
        scene.server.kill()
        scene.server.start()
        await scene.back()
        assert [(await scene.publish(b"x", id=id)).seq for id in ("full", "free", "2")] == [3, 4, 2]

    run_on_a_disk(play)


def test_a_power_cut_takes_nothing_that_was_acknowledged_where_every_write_is_synced(run_on_a_disk: Run) -> None:
    async def play(scene: Scene) -> None:
        await scene.consumer(ack_wait=0.3)
        for body in (b"1", b"2", b"3"):
            await scene.publish(body, id=body.decode())
        one, _ = await scene.take(2)
        await one.ack_sync()
        await asyncio.sleep(0.3)
        await scene.server.cut_power()
        scene.server.start()
        await scene.back()
        assert (await scene.state()).last_seq == 3
        assert (await scene.publish(b"3", id="3")).duplicate
        info = await scene.info()
        assert (info.num_pending, info.num_ack_pending) == (1, 1)
        assert sorted(map(seen, await scene.take(2))) == [(b"2", 2), (b"3", 1)]

    run_on_a_disk(play)
