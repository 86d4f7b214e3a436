"""One part of a line of services (scripts.benchmarks.line): a participant with the real machinery, or the orchestrator.

python -m scripts.benchmarks.hop NAME

Which line it is says ENSEMBLE_CONTRACTS; the generated code has to be on the import path.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from google.protobuf.message import Message

from mesh import lifecycle
from mesh.lifecycle import Lifecycle
from mesh.settings import Settings
from orchestrator import __main__ as orchestrator
from orchestrator.saga import Saga
from orchestrator.workflow import workflow
from scripts.benchmarks.line import Line, of_package
from services.participant import Step
from services.participant.host import host


def servicer(line: Line, service: str) -> object:
    """What does one hop: nothing."""
    response = line.module(service, "pb2").PassResponse
    generated: Any = line.module(service, "pb2_grpc").HopServiceServicer

    class Hop(generated):  # type: ignore[misc]  # generated for this run
        def Pass(self, request: Message, step: Step) -> Message:
            return response()  # type: ignore[no-any-return]

        def Stop(self, request: Message, step: Step) -> Message:
            raise AssertionError("no order of a line is cancelled")

    return Hop()


def register_workflow(line: Line) -> None:
    """The same line as calls, one after the other."""
    begun = line.module(line.services[0], "pb2").Begun

    async def walk(saga: Saga, event: Any) -> None:
        await line.calls(lambda _: saga)(event.order)

    walk.__annotations__["event"] = begun
    workflow(line.name)(walk)


async def serve(name: str, settings: Settings, life: Lifecycle) -> None:
    """Until the process is asked to stop."""
    line = of_package(settings.contracts)
    if name in line.services:
        await host(servicer(line, name), settings, life)
    else:
        register_workflow(line)
        await orchestrator.host(settings, life)


def main() -> None:
    """The command line."""
    name = sys.argv[1]
    lifecycle.run_part(name, partial(serve, name))


if __name__ == "__main__":
    main()
