"""A history is what one real saga wrote, many times, and nothing of others."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from scripts.benchmarks import history


def test_all_rows_of_the_saga_are_copied_and_its_times_lie_before(tmp_path: Path) -> None:
    path = tmp_path / "orchestrator.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE sagas (saga_id TEXT PRIMARY KEY, started_us INTEGER, ended_us INTEGER)")
        connection.execute("CREATE TABLE steps (saga_id TEXT, method TEXT, PRIMARY KEY (saga_id, method))")
        connection.execute("CREATE TABLE versions (number INTEGER)")
        connection.execute("INSERT INTO sagas VALUES ('real', 5000000, 0), ('other', 1, 2)")
        connection.execute("INSERT INTO steps VALUES ('real', 'First'), ('real', 'Second'), ('other', 'First')")
        connection.execute("INSERT INTO versions VALUES (7)")
    history.multiply(path, "real", 3)
    copied = "saga_id LIKE 'history-%'"
    with sqlite3.connect(path) as connection:
        sagas = connection.execute(f"SELECT started_us, ended_us FROM sagas WHERE {copied} ORDER BY started_us")
        assert sagas.fetchall() == [(4997000, 0), (4998000, 0), (4999000, 0)]
        steps = connection.execute(f"SELECT method, count(*) FROM steps WHERE {copied} GROUP BY method ORDER BY method")
        assert steps.fetchall() == [("First", 3), ("Second", 3)]
        assert connection.execute("SELECT count(*) FROM versions").fetchone() == (1,)
