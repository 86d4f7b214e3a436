"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import HOW_TO_GET_IT, PostgresServer, binary, running_server


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
