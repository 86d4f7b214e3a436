"""A participant that does nothing: a plain grpc.aio server that answers every call with a constant.

python -m scripts.benchmarks.noop NAME
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from mesh import lifecycle
from mesh.lifecycle import Lifecycle
from mesh.settings import Settings
from scripts.benchmarks.chain import ANSWERS, CONTRACTS


def _constantly(answer: bytes) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def serve(_request: bytes, _context: Any) -> bytes:
        return answer

    return serve


@asynccontextmanager
async def serving(name: str, listen: str) -> AsyncIterator[None]:
    """Serves the calls of a service."""
    service = f"{CONTRACTS}.{name}.v1.{name.capitalize()}Service"
    handlers: dict[str, Any] = {
        method: grpc.unary_unary_rpc_method_handler(_constantly(answer.SerializeToString()))
        for method, answer in ANSWERS[name].items()
    }
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])  # one process a port, as mesh.server has it
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_insecure_port(listen)
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


def main() -> None:
    """The command line."""
    name = sys.argv[1]

    async def run(settings: Settings, life: Lifecycle) -> None:
        async with serving(name, settings.listen):
            await life.stopped()

    lifecycle.run_part(name, run)


if __name__ == "__main__":
    main()
