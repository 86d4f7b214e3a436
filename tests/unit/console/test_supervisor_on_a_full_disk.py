"""A full disk ends no mesh: what cannot be written down now is written down later, and a broker is not left stuck."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from console.supervisor import Supervisor
from eventbus import broker
from mesh.addresses import MeshFile
from tests.harness import eventually


@contextmanager
def a_monitor(status: int, body: bytes) -> Iterator[str]:
    """What a nats-server says at /healthz; its address."""

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Health)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


async def test_where_the_parts_are_is_written_down_once_there_is_room_again(tmp_path: Path) -> None:
    told: list[str] = []
    supervisor = Supervisor(tmp_path, 0, told.append)
    in_the_way = tmp_path / ".mesh.json.new"
    in_the_way.mkdir()
    writing = asyncio.create_task(supervisor._write_changes())
    supervisor._changed.set()

    async def tried() -> bool:
        return bool(told)

    await eventually(tried)
    assert "cannot be written down yet" in told[0]
    in_the_way.rmdir()

    async def written() -> bool:
        return MeshFile.read(tmp_path) is not None

    await eventually(written)
    writing.cancel()


def test_a_line_that_cannot_be_printed_ends_no_mesh(tmp_path: Path) -> None:
    def say(line: str) -> None:
        raise OSError(28, "No space left on device")

    Supervisor(tmp_path, 0, say)._tell("orders ended")


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, b'{"status":"ok"}', ""),
        (
            503,
            b'{"status":"unavailable","error":"stream EVENTS write error: no space left"}',
            "stream EVENTS write err",
        ),
        (503, b'{"status":"unavailable","error":"JetStream has not established contact"}', ""),
        (503, b"<html>", ""),
    ],
    ids=["well", "stuck", "busy", "nonsense"],
)
def test_a_broker_is_stuck_where_it_says_that_a_write_failed(status: int, body: bytes, why: str) -> None:
    with a_monitor(status, body) as address:
        assert broker.stuck(address).startswith(why)
        assert bool(broker.stuck(address)) == bool(why)


def test_a_broker_that_does_not_answer_is_not_known_to_be_stuck() -> None:
    assert broker.stuck("127.0.0.1:9") == ""


def test_what_a_broker_may_store_does_not_depend_on_what_is_free_when_it_starts(tmp_path: Path) -> None:
    text = broker.write_configuration(tmp_path, "127.0.0.1:4222").read_text()
    assert f"max_file_store: {int(broker.shutil.disk_usage(tmp_path).total * 0.75)}\n" in text
