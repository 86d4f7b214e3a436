"""Whatever is done to it in whatever order, the model says and does what nats-server says and does.

Steps are drawn by seed and played on both; all that can be seen is noted, and has to be equal. Time plays no part here:
nothing runs out.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import pytest
from nats.aio.msg import Msg
from nats.js.errors import APIError
from servers import RealServer
from stage import Answers, Scene, on_nats_server, on_the_model

SEEDS = 2
STEPS = 120
SUBJECTS = ("a", "b", "c", "c.d")
CONSUMERS = {
    "all": {},
    "some": {"subjects": ["a", "c.*"], "max_deliver": 3},
    "slow": {"subjects": ["b", "c"], "max_ack_pending": 2},
}
PATIENCE_S = 2.0

Look = Callable[[], object]


class Wanderer:
    """Does random things, and notes after each what can be seen of the broker.

    nats-server treats what it is told in tasks of its own, a moment later. So who wanders after somebody else waits,
    at every step, until all looks as it did there, and fails where it never does.
    """

    def __init__(self, scene: Scene, seed: int, before: Sequence[object] = (), *, kills: int = 0) -> None:
        self._scene = scene
        self._rng = random.Random(seed)
        self._before = before
        self._kills = kills
        self._delivered: dict[str, list[Msg]] = {name: [] for name in CONSUMERS}
        self._asked: list[tuple[str, Answers]] = []
        self.seen: list[object] = []

    async def wander(self) -> None:
        for name, options in CONSUMERS.items():
            await self._scene.consumer(name, ack_wait=600.0, **options)
        steps: dict[Callable[[], Awaitable[object]], int] = {
            self._publish: 10,
            self._pull: 9,
            self._answer: 14,
            self._get_message: 1,
            self._delete_message: 2,
            self._purge: 1,
            self._delete_consumer: 1,
            self._update_consumer: 1,
            self._kill: self._kills,
        }
        for number in range(STEPS):
            (step,) = self._rng.choices(list(steps), list(steps.values()))
            try:
                said = await step()
            except APIError as error:
                said = (error.code, error.err_code, error.description)
            self.seen.append(await self._look((number, step.__name__, said)))

    async def _look(self, done: object) -> object:
        """What can be seen."""
        view = await self._view(done)
        if self._before:
            expected, limit_s = self._before[len(self.seen)], self._scene.now() + PATIENCE_S
            while view != expected and self._scene.now() < limit_s:
                await asyncio.sleep(0.002)
                view = await self._view(done)
            assert view == expected
        return view

    async def _view(self, done: object) -> object:
        told = [await self._told(name) for name in CONSUMERS]
        return done, self._heard(), told

    async def _publish(self) -> object:
        id = self._rng.choice(("", "", f"id{self._rng.randrange(6)}"))
        ack = await self._scene.publish(b"%d" % len(self.seen), self._rng.choice(SUBJECTS), id)
        return ack.seq, ack.duplicate

    async def _pull(self) -> object:
        name, wait = self._name(), self._rng.random() < 0.2
        options = {"expires": 600} if wait else {"expires": 0, "no_wait": True}
        self._asked.append((name, await self._scene.pull(self._rng.randint(1, 4), name=name, **options)))
        return name, wait

    async def _answer(self) -> object:
        name = self._name()
        if not self._delivered[name]:
            return None
        message = self._rng.choice(self._delivered[name][-8:])
        said = self._rng.choice((b"", b"+ACK", b"-NAK", b"-NAK", b'-NAK {"delay": 900000000000}', b"+TERM", b"+WPI"))
        answer = await self._scene.client.request(message.reply, said, timeout=1)
        return name, said, message.metadata.sequence.stream, answer.data

    async def _delete_message(self) -> object:
        return await self._scene.js.delete_msg(self._scene.name, self._sequence())

    async def _get_message(self) -> object:
        pattern = self._rng.choice((None, "a", "c.>", ">"))
        if pattern is None:
            found = await self._scene.js.get_msg(self._scene.name, self._sequence())
        else:
            subject, sequence = f"{self._scene.name}.{pattern}", self._sequence()
            found = await self._scene.js.get_msg(self._scene.name, sequence, subject=subject, next=True)
        return self._without_name(found.subject), found.seq, found.data

    async def _purge(self) -> object:
        if self._rng.random() < 0.7:
            return None
        return await self._scene.js.purge_stream(self._scene.name)

    async def _delete_consumer(self) -> object:
        name = self._name()
        await self._scene.js.delete_consumer(self._scene.name, name)
        await asyncio.sleep(0.05)  # one that is made at once has the old one's state
        await self._scene.consumer(name, ack_wait=600.0, **CONSUMERS[name])
        self._delivered[name].clear()
        return name

    async def _update_consumer(self) -> object:
        subjects = self._rng.sample(("a", "b", "c", "c.d"), self._rng.randint(1, 3))
        await self._scene.consumer("some", ack_wait=600.0, subjects=subjects, max_deliver=3)
        return subjects

    async def _kill(self) -> object:
        await asyncio.sleep(0.25)  # by then all is written
        self._scene.server.kill()
        self._scene.server.start()
        await self._scene.back()
        return None

    def _name(self) -> str:
        return self._rng.choice(list(CONSUMERS))

    def _sequence(self) -> int:
        return self._rng.randint(1, 1 + len(self.seen) // 3)

    def _heard(self) -> object:
        """What came to those who asked."""
        for name, answers in self._asked:
            self._delivered[name] += [message for message in answers.so_far() if message.reply]
        return [[self._told_by(message) for message in answers.heard] for _, answers in self._asked]

    def _told_by(self, message: Msg) -> object:
        if not message.reply:
            return sorted((message.headers or {}).values())
        metadata = message.metadata
        sequences = (metadata.sequence.stream, metadata.sequence.consumer)
        return (
            self._without_name(message.subject),
            message.data,
            sequences,
            metadata.num_delivered,
            metadata.num_pending,
        )

    async def _told(self, name: str) -> object:
        info = await self._scene.info(name)
        counts = (info.num_pending, info.num_ack_pending, info.num_redelivered, info.num_waiting)
        return name, counts, info.delivered.consumer_seq

    def _without_name(self, subject: str | None) -> str:
        return (subject or "").removeprefix(self._scene.name)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_model_does_what_nats_server_does(seed: int, nats_server: RealServer) -> None:
    compare(nats_server, seed)


def test_the_model_does_what_nats_server_does_when_it_is_killed_now_and_then(nats_server: RealServer) -> None:
    compare(nats_server, SEEDS, kills=1)


def compare(nats_server: RealServer, seed: int, *, kills: int = 0) -> None:
    seen: list[object] = []

    async def play(scene: Scene) -> None:
        wanderer = Wanderer(scene, seed, tuple(seen), kills=kills)
        await wanderer.wander()
        seen[:] = wanderer.seen

    on_the_model(play)
    on_nats_server(nats_server)(play)
