"""What the tests do with either of the two brokers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats.errors
import pytest
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, PubAck, StreamConfig
from nats.js.errors import NotFoundError, ServiceUnavailableError
from servers import ModelledServer, RealServer, Server

from mesh import virtual_time
from scripts.faulting.disk import mounted_disk
from scripts.faulting.fault import NotPossible
from tests.harness import eventually

TIMEOUT_S = 1.0
DISK_MIB = 32


class Scene:
    """A stream of this test alone on one of the brokers, and a client."""

    def __init__(self, server: Server, url: str) -> None:
        self.server = server
        self.url = url
        self.name = f"S{uuid4().hex[:12]}"
        self.client = server.client()
        self.js = self.client.jetstream(timeout=TIMEOUT_S)
        self.errors: list[Exception] = []
        self.reconnected = asyncio.Event()

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def on_time(self, after_s: float, due_s: float) -> bool:
        """Whether something came when it should."""
        return due_s * 0.9 < after_s < due_s + self.server.late_s

    @asynccontextmanager
    async def connected(self, **stream: Any) -> AsyncIterator[None]:
        async def note(error: Exception) -> None:
            self.errors.append(error)

        async def disconnected() -> None:
            self.reconnected.clear()

        async def reconnected() -> None:
            self.reconnected.set()

        await self.client.connect(
            self.url,
            error_cb=note,
            disconnected_cb=disconnected,
            reconnected_cb=reconnected,
            reconnect_time_wait=0.05,  # type: ignore[arg-type]
            max_reconnect_attempts=-1,
            connect_timeout=0.5,  # type: ignore[arg-type]
            ping_interval=0.2,  # type: ignore[arg-type]
        )
        await self.make_stream(**stream)
        try:
            yield
        finally:
            await self.client.close()

    async def make_stream(self, **options: Any) -> None:
        await self.js.add_stream(StreamConfig(name=self.name, subjects=[f"{self.name}.>"], **options))

    async def publish(self, body: bytes = b"", subject: str = "a", id: str = "") -> PubAck:
        headers = {"Nats-Msg-Id": id} if id else None
        return await self.js.publish(f"{self.name}.{subject}", body, headers=headers, timeout=TIMEOUT_S)

    async def consumer(
        self, name: str = "worker", *, ack_wait: float = 30.0, subjects: Any = (), **options: Any
    ) -> None:
        filters = [f"{self.name}.{subject}" for subject in subjects]
        config = ConsumerConfig(durable_name=name, ack_wait=ack_wait, filter_subjects=filters or None, **options)
        await self.js.add_consumer(self.name, config)

    async def pull(self, batch: int = 1, *, name: str = "worker", **options: Any) -> Answers:
        """Asks for messages; `expires` and `idle_heartbeat` in seconds."""
        answers = Answers(self)
        inbox = self.client.new_inbox()
        answers.subscription = await self.client.subscribe(inbox, cb=answers.hear)
        said = {key: int(value * 1e9) if key != "no_wait" else value for key, value in options.items()}
        request = json.dumps({"batch": batch, **({"expires": int(30e9)} | said)})
        await self.client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{self.name}.{name}", request.encode(), reply=inbox)
        return answers

    async def take(self, count: int = 1, *, name: str = "worker") -> list[Msg]:
        """So many messages."""
        answers = await self.pull(count, name=name)
        return [await answers.message() for _ in range(count)]

    async def none_left(self, name: str = "worker") -> bool:
        """Whether there is nothing to be had right now."""
        answers = await self.pull(name=name, no_wait=True, expires=0)
        return (await answers.status())[0] == "404"

    async def info(self, name: str = "worker") -> Any:
        return await self.js.consumer_info(self.name, name)

    async def knows_of(self, count: int, name: str = "worker") -> None:
        """Until a consumer has heard of so many messages, which is some time after they are stored."""

        async def knows() -> bool:
            return (await self.info(name)).num_pending >= count  # type: ignore[no-any-return]

        await eventually(knows, every_s=0.01, what=f"a consumer that knows of {count} messages")

    async def state(self) -> Any:
        return (await self.js.stream_info(self.name)).state

    async def settle(self) -> None:
        """Until the broker has done all that was sent to it: acknowledgements are not answered."""
        await self.state()
        await asyncio.sleep(0.02)  # it treats acknowledgements apart from all else

    async def back(self) -> None:
        """Until the client is connected again, and the broker answers."""
        async with asyncio.timeout(10):
            await self.reconnected.wait()
            while True:
                with contextlib.suppress(nats.errors.TimeoutError, ServiceUnavailableError):
                    with contextlib.suppress(NotFoundError):  # it may have come back with an empty disk
                        await self.state()
                    return
                await asyncio.sleep(0.02)


class Answers:
    """What comes to one pull request."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._heard: asyncio.Queue[tuple[float, Msg]] = asyncio.Queue()
        self._began = scene.now()
        self.subscription: Any = None
        self.heard: list[Msg] = []

    async def hear(self, message: Msg) -> None:
        self._heard.put_nowait((self._scene.now() - self._began, message))

    async def next(self, within_s: float = 3.0) -> tuple[float, Msg]:
        """What comes next, and how many seconds after the request."""
        async with asyncio.timeout(within_s):
            return await self._heard.get()

    async def message(self, within_s: float = 3.0) -> Msg:
        """A message, and no status."""
        _, heard = await self.next(within_s)
        assert heard.reply, f"no message but {heard.headers}"
        return heard

    async def status(self, within_s: float = 3.0) -> tuple[str, dict[str, str]]:
        """A status, and no message."""
        _, heard = await self.next(within_s)
        assert not heard.reply, f"no status but the message {heard.data!r}"
        headers = {str(getattr(key, "value", key)): value for key, value in (heard.headers or {}).items()}
        return headers.pop("Status"), headers

    def so_far(self) -> list[Msg]:
        """What has come and was not looked at yet."""
        new = [self._heard.get_nowait()[1] for _ in range(self._heard.qsize())]
        self.heard += new
        return new

    async def nothing(self, for_s: float) -> None:
        """Nothing comes for so long."""
        with contextlib.suppress(TimeoutError):
            _, heard = await self.next(for_s)
            raise AssertionError(f"{heard.data!r} with {heard.headers} came")

    async def end(self) -> None:
        await self.subscription.unsubscribe()


def seen(message: Msg) -> tuple[bytes, int]:
    """Its body, and which delivery this is."""
    return message.data, message.metadata.num_delivered


Play = Callable[[Scene], Awaitable[None]]
Run = Callable[..., None]


def on_the_model(play: Play, **stream: Any) -> None:
    """Plays a scene on the model, in virtual time."""

    async def main() -> None:
        await _play(ModelledServer(), play, stream)

    virtual_time.run(main)


def on_nats_server(server: RealServer) -> Run:
    """Plays scenes on a server that runs."""

    def run(play: Play, **stream: Any) -> None:
        asyncio.run(_play(server, play, stream))

    return run


def on_nats_server_with_a_disk(folder: Path) -> Run:
    """Plays scenes on a server of their own with a small disk of its own."""

    def run(play: Play, **stream: Any) -> None:
        async def main() -> None:
            try:
                async with mounted_disk(folder, DISK_MIB) as disk:
                    server = RealServer(folder, disk)
                    server.start()
                    try:
                        await _play(server, play, stream)
                    finally:
                        server.free_disk()
                        server.kill()
            except NotPossible as error:
                pytest.skip(str(error))

        asyncio.run(main())

    return run


async def _play(server: Any, play: Play, stream: dict[str, Any]) -> None:
    scene = Scene(server, server.url)
    async with asyncio.timeout(60), scene.connected(**stream):
        await play(scene)
