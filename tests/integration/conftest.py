"""Fixtures of the tests over real parts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from eventbus_bench import Desk, MortalBroker, connected

from eventbus.bus import EventBus
from tests.harness import Broker, running_broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for all tests of a module; none of them may kill it."""
    with running_broker(tmp_path_factory.mktemp("broker")) as server:
        yield server


@pytest.fixture
async def bus(broker: Broker) -> AsyncIterator[EventBus]:
    async with connected(broker.url) as bus:
        yield bus


@pytest.fixture
def desk(bus: EventBus) -> Desk:
    """A service and an event of this test alone."""
    return Desk(bus)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[MortalBroker]:
    """A broker that the test may kill."""
    server = MortalBroker(tmp_path / "nats")
    server.start()
    yield server
    server.end()
