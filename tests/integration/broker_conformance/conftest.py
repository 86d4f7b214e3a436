"""Each claim is played on the model and on nats-server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers import RealServer
from stage import Run, on_nats_server, on_the_model


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    server = RealServer(tmp_path_factory.mktemp("broker"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["modelled", "nats-server"])
def run(request: pytest.FixtureRequest) -> Run:
    if request.param == "modelled":
        return on_the_model
    return on_nats_server(request.getfixturevalue("nats_server"))
