"""A journal with many sagas that have ended, and a look at how the database answers the store's questions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sql
from sqlalchemy import Connection
from sqlalchemy.pool import PoolProxiedConnection, _ConnectionFairy

from orchestrator.tables import SAGAS
from tests.unit.journal.journal_bench import NOW_US

# A look at each of them would stand out; and what it costs with a million `scripts/bench orchestrated` tells.
ENDED = 300_000
STEPS = 100_000
GOING = 300

_NUMBERS = {
    "sqlite": "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {last}) ",
    "postgresql": "WITH numbers(n) AS (SELECT generate_series(0, {last})) ",
}

_ENDED = (
    "INSERT INTO sagas (saga_id, process, version, parent, style, input, status, cancelling, refusal, result, "
    "stalled_reason, stalled_help, started_us, updated_us, ended_us, owner, due_us, checksum) {numbers}"
    "SELECT 'saga-' || n, 'process-' || (n % 3), 1, '', 1 + n % 2, {bytes}, 3 + (n % 10) / 9, "
    "{false}, {bytes}, {bytes}, '', '', {now} + n, {now} + n, {now} + n, NULL, NULL, 0 FROM numbers"
)
_STEPS = (
    "INSERT INTO steps (saga_id, method, step_key, digest, request, status, outcome, attempts, started_us, ended_us, "
    "last_error, checksum) {numbers}"
    "SELECT 'saga-' || n, 'method', '', {bytes}, {bytes}, 2, {bytes}, 1, {now}, {now}, '', 0 FROM numbers"
)
_MAIL = (
    "INSERT INTO mail (saga_id, name, body, arrived_us) {numbers}"
    "SELECT 'saga-' || n, 'name', {bytes}, {now} FROM numbers"
)


def fill(tx: Connection) -> None:
    """Writes those that have ended."""
    dialect = tx.dialect.name
    for index in SAGAS.indexes:  # to make them afterwards takes a fraction of the time
        index.drop(tx)
    for statement, count in ((_ENDED, ENDED), (_STEPS, STEPS), (_MAIL, STEPS)):
        text = statement.format(
            numbers=_NUMBERS[dialect].format(last=count - 1),
            bytes="x''" if dialect == "sqlite" else "''::bytea",
            false="0" if dialect == "sqlite" else "false",
            now=NOW_US - ENDED,
        )
        tx.exec_driver_sql(text if dialect == "sqlite" else text.replace("%", "%%"))
    for index in SAGAS.indexes:
        index.create(tx)


@contextmanager
def looked_at(tx: Connection, patching: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Inside, every statement is looked at; gives what of their plans does not fit a journal with a long history."""
    look = _on_sqlite if tx.dialect.name == "sqlite" else _on_postgres
    with look(tx, patching) as faults:
        yield faults


# SQLite: what it plans, and how many instructions it takes.

_INSTRUCTIONS_MAX = 50_000  # of one statement; a look at each of those that have ended would take a million


@contextmanager
def _on_sqlite(tx: Connection, patching: pytest.MonkeyPatch) -> Iterator[list[str]]:
    faults: list[str] = []
    driver: Any = tx.connection.driver_connection
    hundreds = 0

    def count() -> None:
        nonlocal hundreds
        hundreds += 1

    class Looking(sqlite3.Cursor):
        def execute(self, statement: str, parameters: Any = ()) -> Any:
            nonlocal hundreds
            plan = [str(row[3]) for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
            faults.extend(f"{line}: {statement}" for line in plan if _walks(line, statement))
            hundreds, self._statement = 0, statement
            return super().execute(statement, parameters)

        def close(self) -> None:
            if hundreds * 100 > _INSTRUCTIONS_MAX:
                faults.append(f"{hundreds * 100} instructions: {self._statement}")
            super().close()

    driver.set_progress_handler(count, 100)
    with patching.context() as patch:
        patch.setattr(_ConnectionFairy, "cursor", lambda fairy: _driver(fairy).cursor(Looking))
        yield faults
    driver.set_progress_handler(None, 100)


def _walks(line: str, statement: str) -> bool:
    """A walk through a table or an index, or a sort; but a walk in the order of an index that ends at its first row."""
    first_only = "USING COVERING INDEX" in line and "LIMIT ?" in statement and "WHERE" not in statement
    few = line.startswith("SCAN orchestrators")
    return ("SCAN" in line or "TEMP B-TREE" in line) and not first_only and not few


def _driver(fairy: PoolProxiedConnection) -> Any:
    return fairy.driver_connection


# PostgreSQL: what it did, as auto_explain tells.

_ROWS_MAX = 3_000


@contextmanager
def _on_postgres(tx: Connection, _patching: pytest.MonkeyPatch) -> Iterator[list[str]]:
    driver: Any = tx.connection.driver_connection
    faults: list[str] = []

    def told(diagnostic: psycopg.errors.Diagnostic) -> None:
        _, is_plan, plan = (diagnostic.message_primary or "").partition("plan:\n")
        if is_plan:
            parsed = json.loads(plan)
            faults.extend(f"{fault}: {parsed['Query Text']}" for fault in _faults(parsed["Plan"]))

    tx.exec_driver_sql("LOAD 'auto_explain'")
    settings = {"log_min_duration": "0", "log_analyze": "on", "log_timing": "off", "log_format": "json"}
    for name, value in settings.items():
        tx.exec_driver_sql(f"SET auto_explain.{name} = '{value}'")
    tx.exec_driver_sql("SET client_min_messages = log")
    driver.add_notice_handler(told)
    try:
        yield faults
    finally:
        driver.remove_notice_handler(told)
        if driver.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS:
            tx.exec_driver_sql("SET auto_explain.log_min_duration = -1")


def _faults(node: dict[str, Any]) -> Iterator[str]:
    touched = node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0)
    walked = node["Node Type"] == "Seq Scan" and node["Relation Name"] != "orchestrators"
    if walked or touched > _ROWS_MAX:
        yield f"{node['Node Type']} of {node.get('Relation Name')} over {touched} rows"
    for inner in node.get("Plans", ()):
        yield from _faults(inner)


Work = Callable[[Connection], Any]


class Undo(Exception):
    """Rolls a transaction back."""


def leaves_rows(tx: Connection) -> bool:
    """Whether what a transaction wrote stays in tables and indexes, though it is rolled back: until the next vacuum."""
    if tx.dialect.name == "sqlite":
        return False
    return tx.exec_driver_sql("SELECT pg_current_xact_id_if_assigned()").scalar() is not None


def vacuum(url: str, schema: str) -> None:
    """What PostgreSQL's autovacuum does by itself in time; also of what was rolled back, whose entries indexes keep."""
    engine = sql.create_engine(sql.make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for table in ("sagas", "steps", "mail"):
            connection.exec_driver_sql(f"VACUUM (ANALYZE, INDEX_CLEANUP ON) {schema}.{table}")
    engine.dispose()
