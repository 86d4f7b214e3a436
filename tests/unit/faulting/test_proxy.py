"""A bad link: late, reset, a black hole, one way; and whole again."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from scripts.faulting.proxy import Proxy
from tests.harness import eventually


@pytest.fixture
async def counts() -> Counter[str]:
    return Counter()


@pytest.fixture
async def link(counts: Counter[str]) -> AsyncIterator[Proxy]:
    """To an echo."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Proxy("echo", lambda: f"127.0.0.1:{port}", lambda: counts).running() as proxy:
        yield proxy
    server.close()


class Caller:
    """One connection through a link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def at(cls, link: Proxy) -> Caller:
        host, _, port = link.address.partition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def ask(self, text: str, within_s: float = 5.0) -> str:
        self.writer.write(f"{text}\n".encode())
        async with asyncio.timeout(within_s):
            return (await self.reader.readline()).decode().strip()


async def test_a_good_link_lets_everything_through(link: Proxy, counts: Counter[str]) -> None:
    caller = await Caller.at(link)
    assert await caller.ask("hello") == "hello"
    caller.writer.write_eof()
    assert await caller.reader.read() == b""
    assert not counts


async def test_a_late_link_is_late_both_ways(link: Proxy, counts: Counter[str]) -> None:
    link.delay_s = 0.1
    caller, began = await Caller.at(link), time.monotonic()
    assert await caller.ask("hello") == "hello"
    assert time.monotonic() - began >= 0.2
    assert counts["bytes delayed"] == 2 * len("hello\n")


async def test_a_reset_breaks_what_is_connected_and_nothing_else(link: Proxy, counts: Counter[str]) -> None:
    caller = await Caller.at(link)
    await caller.ask("hello")
    link.reset()
    with pytest.raises(ConnectionResetError):
        await caller.ask("still there?")
    assert counts["connections reset"] == 1
    assert await (await Caller.at(link)).ask("again") == "again"


@pytest.mark.parametrize("ways", [("requests", "answers"), ("answers",)], ids=["both ways", "one way"])
async def test_what_a_black_hole_takes_comes_once_it_is_gone(
    link: Proxy, counts: Counter[str], ways: tuple[str, ...]
) -> None:
    caller = await Caller.at(link)
    link.hold(*ways)
    with pytest.raises(TimeoutError):
        await caller.ask("hello", within_s=0.2)

    async def held() -> bool:
        return bool(counts[f"bytes of {ways[0]} held"])

    await eventually(held)
    link.heal()
    assert await caller.ask("more") == "hello"
