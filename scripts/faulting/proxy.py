"""A TCP proxy that stands between two parts of a mesh and makes their network bad.

What TCP promises holds on each connection as long as it lives: bytes are late, or never come, but none is left out from
between others. So bytes that a black hole takes are held, and go on where the connection outlives the black hole, as a
network's own repetitions would bring them; both ends find out for themselves that nothing comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

HOST = "127.0.0.1"
CHUNK_BYTES = 65536
# On: a closed socket sends a reset instead of what it still has.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """One link. Whoever connects to `address` is connected to where `target` says at that moment ("HOST:PORT")."""

    def __init__(self, name: str, target: Callable[[], str], counts: Callable[[], Counter[str]]) -> None:
        self.name = name
        self.address = ""
        self.delay_s = 0.0  # of every chunk, in both directions
        self._target = target
        self._counts = counts
        self._open = {"requests": asyncio.Event(), "answers": asyncio.Event()}  # what is let through
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.heal()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        """Listens, and lets go of everything at the end."""
        server = await asyncio.start_server(self._accept, HOST, 0)
        self.address = "{}:{}".format(*server.sockets[0].getsockname())
        try:
            yield self
        finally:
            server.close()
            for task in (tasks := list(self._tasks)):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def heal(self) -> None:
        """Makes the link good again."""
        self.delay_s = 0.0
        for way in self._open.values():
            way.set()

    def hold(self, *ways: str) -> None:
        """Lets nothing through any more of "requests", of "answers", or of both."""
        for way in ways:
            self._open[way].clear()

    def reset(self) -> None:
        """Breaks all connections, as a router does that was started again: both ends get a reset."""
        self._counts()["connections reset"] += len(self._connections) // 2
        for writer in self._connections:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(OSError, LookupError):  # nobody listens there now: the caller finds out
            host, _, port = self._target().rpartition(":")
            other_reader, other_writer = await asyncio.open_connection(host, int(port))
            both = {writer, other_writer}
            self._connections |= both
            try:
                async with asyncio.TaskGroup() as ways:
                    ways.create_task(self._pump(reader, other_writer, "requests"))
                    ways.create_task(self._pump(other_reader, writer, "answers"))
            except* OSError:
                pass
            finally:
                self._connections -= both
                other_writer.close()
        self._tasks.discard(task)
        writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            if self.delay_s:
                self._counts()["bytes delayed"] += len(chunk)
                await asyncio.sleep(self.delay_s)
            if not self._open[way].is_set():
                self._counts()[f"bytes of {way} held"] += len(chunk)
                await self._open[way].wait()
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
