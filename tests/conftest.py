"""Fixtures of all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.postgres import HOW_TO_GET_IT, PostgresServer, binary, running_server

# In the background of a shell SIGINT is ignored, and what the tests start, and interrupt, would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A real PostgreSQL for this session. Who ends it starts it again."""
    if binary("initdb") is None:
        pytest.skip(HOW_TO_GET_IT)
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of a database of this test alone."""
    return postgres_server.fresh_database()
