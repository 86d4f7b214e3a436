"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import HOW_TO_GET_IT, PostgresServer, binary, running_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, a file's stay in one, and those of the shared mesh: fixtures are dear."""
    for item in items:
        shared = item.path.parent.name == "e2e" and "mesh" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("the shared mesh" if shared else str(item.path)))


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
