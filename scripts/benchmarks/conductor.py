"""The orchestrator, with the chain as the workflow of its process.

python -m scripts.benchmarks.conductor
"""

from __future__ import annotations

from mesh import lifecycle
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
    lifecycle.run_part(NAME, host)


if __name__ == "__main__":
    main()
