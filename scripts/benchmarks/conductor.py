"""The orchestrator, with the chain as the workflow of its process.

python -m scripts.benchmarks.conductor
"""

from __future__ import annotations

from mesh import lifecycle, telemetry
from mesh.lifecycle import Lifecycle
from mesh.settings import load_settings_or_exit
from orchestrator.__main__ import NAME, host
from orchestrator.saga import Saga
from orchestrator.workflow import workflow
from scripts.benchmarks.chain import PROCESS, Chain
from shop.orders.v1.events_pb2 import OrderPlaced


@workflow(PROCESS)
async def four_steps(saga: Saga, placed: OrderPlaced) -> None:
    """The chain; a saga is a channel."""
    await Chain(lambda _: saga).run(placed.order)


def main() -> None:
    """The command line."""
    settings = load_settings_or_exit()
    telemetry.configure_logging(NAME, settings.log_level)

    async def run(life: Lifecycle) -> None:
        await host(settings, life)

    lifecycle.run(run)


if __name__ == "__main__":
    main()
