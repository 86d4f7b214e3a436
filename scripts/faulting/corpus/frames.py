"""HTTP/2 below gRPC: bytes on a socket, made by hand (RFC 9113). A part answers them, or ends the connection."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from hpack import Decoder, HPACKError

from mesh.settings import MESSAGE_BYTES_MAX

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4

# What becomes of a connection: the part ends it; it goes on as if nothing had been; the call on it fails.
ENDS, GOES_ON, FAILS = "the connection ends", "the connection goes on", "the call fails"
ANSWER_S = 5.0
# How long after the answer to a ping a call that is to be passed over may still be answered.
LATE_S = 1.0
_PING, _ARE_YOU = b"poisoned", b"are you?"

GET_STOCK = "/shop.inventory.v1.InventoryService/GetStock"


@dataclass(frozen=True)
class Frames:
    """Bytes, and what may become of the connection, or how the call on it must be answered (`grpc-status 3`)."""

    name: str
    sent: bytes
    outcomes: frozenset[str]
    is_call: bool = False


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """One frame; with another length than its payload's, where one is given."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def headers(**changes: str | None) -> bytes:
    """The header block of a call, never indexed and never compressed; a change to None takes a header out."""
    fields: dict[str, str | None] = {
        ":method": "POST",
        ":scheme": "http",
        ":path": GET_STOCK,
        ":authority": "poison",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    fields |= {name.replace("__", ":").replace("_", "-"): value for name, value in changes.items()}
    return b"".join(_literal(name, value) for name, value in fields.items() if value is not None)


def message(content: bytes, *, compressed: int = 0, length: int | None = None) -> bytes:
    """A gRPC message with its five bytes before it."""
    return struct.pack(">BI", compressed, len(content) if length is None else length) + content


def frames() -> Iterator[Frames]:
    """All of them."""
    for name, sent in _NO_HTTP2.items():
        yield Frames(f"a socket: {name}", sent, frozenset({ENDS}))
    for name, (sent, outcomes) in _FRAMES.items():
        yield Frames(f"HTTP/2: {name}", PREFACE + frame(SETTINGS, 0, 0) + sent, frozenset(outcomes))
    for name, (sent, outcome) in _CALLS.items():
        yield Frames(f"HTTP/2: {name}", PREFACE + frame(SETTINGS, 0, 0) + sent, frozenset({outcome}), is_call=True)


def _literal(name: str, value: str) -> bytes:
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _call(body: bytes = message(b"\x0a\x01x"), **changes: str | None) -> bytes:
    return frame(HEADERS, END_HEADERS, 1, headers(**changes)) + frame(DATA, END_STREAM, 1, body)


_HEADERS = frame(HEADERS, END_HEADERS, 1, headers())

_NO_HTTP2 = {
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: poison\r\n\r\n",
    "TLS": bytes.fromhex("1603010200010001fc0303") + bytes(505),
    "zeros": bytes(1024),
    "a preface that is cut short and goes on otherwise": PREFACE[:12] + b"x" * 64,
    "a megabyte of nothing": b"\xff" * 2**20,
    "a preface and garbage": PREFACE + b"\xff" * 256,
    "a preface without settings": PREFACE + frame(PING, 0, 0, _PING),
}
_FRAMES: dict[str, tuple[bytes, set[str]]] = {
    "settings of an odd length": (frame(SETTINGS, 0, 0, b"\0" * 5), {ENDS}),
    "settings of a stream": (frame(SETTINGS, 0, 1), {ENDS}),
    "settings with a window beyond its maximum": (frame(SETTINGS, 0, 0, b"\0\x04\xff\xff\xff\xff"), {ENDS}),
    "settings of nobody": (frame(SETTINGS, 0, 0, b"\xff\xff\0\0\0\0"), {GOES_ON}),
    "an acknowledgement of settings with a payload": (frame(SETTINGS, ACK, 0, bytes(6)), {ENDS}),
    "a frame of 16 MiB": (frame(DATA, 0, 1, b"", length=2**24 - 1) + bytes(2**16), {ENDS}),
    "data of no stream": (frame(DATA, 0, 0, b"x"), {ENDS, GOES_ON}),
    "data of a stream that is not open": (frame(DATA, 0, 5, b"x"), {ENDS, GOES_ON}),
    "headers of no stream": (frame(HEADERS, END_HEADERS, 0, headers()), {ENDS, GOES_ON}),
    "headers of an even stream": (frame(HEADERS, END_HEADERS, 2, headers()), {ENDS, GOES_ON}),
    "headers of garbage": (frame(HEADERS, END_HEADERS, 1, b"\xff" * 64), {ENDS, FAILS}),
    "padding longer than its frame": (frame(DATA, 0x8, 1, b"\xff"), {ENDS, GOES_ON}),
    "a continuation of nothing": (frame(CONTINUATION, END_HEADERS, 1, b""), {ENDS}),
    "headers that are not continued": (frame(HEADERS, 0, 1, headers()) + frame(PING, 0, 0, _PING), {ENDS, FAILS}),
    "a push promise": (frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2)), {ENDS, GOES_ON}),
    "a ping of seven bytes": (frame(PING, 0, 0, b"1234567"), {ENDS}),
    "a ping of a stream": (frame(PING, 0, 3, _PING), {ENDS, GOES_ON}),
    "a window update of nothing": (_HEADERS + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 0)), {ENDS, FAILS}),
    "a window beyond its maximum": (frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1)), {ENDS, GOES_ON}),
    "a reset of a stream that is not open": (frame(RST_STREAM, 0, 7, bytes(4)), {ENDS, GOES_ON}),
    "a reset of three bytes": (_HEADERS + frame(RST_STREAM, 0, 1, bytes(3)), {ENDS, FAILS}),
    "a priority of itself": (frame(PRIORITY, 0, 1, struct.pack(">IB", 1, 0)), {ENDS, GOES_ON}),
    "a goodbye": (frame(GOAWAY, 0, 0, bytes(8)), {ENDS, GOES_ON}),
    "a frame of an unknown kind": (frame(0xFA, 0xFF, 1, b"x"), {GOES_ON}),
    "a thousand settings": (frame(SETTINGS, 0, 0) * 1000, {ENDS, GOES_ON}),
    "a thousand pings": (frame(PING, 0, 0, b"12345678") * 1000, {ENDS, GOES_ON}),
    "a thousand calls that are reset at once": (
        b"".join(
            frame(HEADERS, END_HEADERS, number, headers()) + frame(RST_STREAM, 0, number, bytes(4))
            for number in range(1, 2001, 2)
        ),
        {ENDS, GOES_ON},
    ),
    "a header of 64 KiB": (
        frame(HEADERS, 0, 1, headers())
        + frame(CONTINUATION, 0, 1, b"\x00\x01x\x7f\x81\xfe\x03" + b"x" * 16_000)
        + frame(CONTINUATION, 0, 1, b"x" * 16_000) * 3
        + frame(CONTINUATION, END_HEADERS, 1, b"x" * 1536),
        {ENDS, FAILS},
    ),
}
# How gRPC answers, which is lenient with what it can make sense of. To a call that ends before its message, grpc.aio
# says nothing: it takes it for one that was cancelled.
_CALLS = {
    "a call that is right": (_call(), "grpc-status 0"),
    "a call by GET": (_call(__method="GET"), "reset 2"),
    "a call of text": (_call(content_type="text/plain"), "grpc-status 0"),
    "a call in an encoding that is none": (_call(grpc_encoding="poison"), "grpc-status 13"),
    "a call with a timeout that is none": (_call(grpc_timeout="soon"), "grpc-status 13"),
    "a message that says it is compressed": (_call(message(b"\x0a\x01x", compressed=1)), "grpc-status 13"),
    "a message longer than what comes": (_call(message(b"\x0a\x01x", length=100)), GOES_ON),
    "a message of 4 GiB": (_call(message(b"", length=2**32 - 1)), "grpc-status 8"),
    "a message beyond the limit": (_call(message(b"", length=MESSAGE_BYTES_MAX + 1)), "grpc-status 8"),
    "a call without a message": (_call(b""), GOES_ON),
    "two messages for one": (_call(message(b"\x0a\x01x") * 2), "grpc-status 0"),
    "half a head of a message": (_call(b"\0\0\0"), GOES_ON),
}


async def give(address_of: Callable[[str], str], part: str, poisons: Iterable[Frames]) -> list[str]:
    """Sends each to a part, on a connection of its own; a line for each of which something else became."""
    host, _, port = address_of(part).rpartition(":")

    async def one(poison: Frames) -> str:
        outcome = await _outcome(host, int(port), poison)
        return "" if outcome in poison.outcomes else f"{poison.name}: {outcome}, not {' or '.join(poison.outcomes)}"

    return [wrong for wrong in await asyncio.gather(*map(one, poisons)) if wrong]


async def _outcome(host: str, port: int, poison: Frames) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    decoder = Decoder()
    try:
        async with asyncio.timeout(ANSWER_S) as limit:
            writer.write(poison.sent + frame(PING, 0, 0, _ARE_YOU))
            await writer.drain()
            said = await _said(reader, decoder)
            if said == GOES_ON and poison.is_call:
                patience_s = LATE_S if GOES_ON in poison.outcomes else ANSWER_S
                limit.reschedule(asyncio.get_running_loop().time() + patience_s)
                said = await _said(reader, decoder)
    except TimeoutError:
        return GOES_ON if poison.is_call else "nothing happens"
    except (asyncio.IncompleteReadError, OSError):
        return ENDS
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return FAILS if said.startswith("grpc-status") and not poison.is_call else said


async def _said(reader: asyncio.StreamReader, decoder: Decoder) -> str:
    """What the part says next: of the call, of the ping, or of the connection."""
    while True:
        head = await reader.readexactly(9)
        kind, flags, payload = head[3], head[4], await reader.readexactly(int.from_bytes(head[:3], "big"))
        if kind == GOAWAY:
            return ENDS
        if kind == RST_STREAM:
            return f"reset {int.from_bytes(payload, 'big')}"
        if kind == PING and flags & ACK and payload == _ARE_YOU:
            return GOES_ON
        if kind == HEADERS and (status := _status(payload, decoder)) is not None:
            return status


def _status(block: bytes, decoder: Decoder) -> str | None:
    """The status of a call, where the headers have one."""
    try:
        said = {str(name): str(value) for name, value in decoder.decode(block)}
    except HPACKError as error:
        return f"headers that cannot be read: {error}"
    return f"grpc-status {said['grpc-status']}" if "grpc-status" in said else None
