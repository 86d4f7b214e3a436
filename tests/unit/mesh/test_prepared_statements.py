"""What a prepared statement is given, and what stands in it."""

from __future__ import annotations

import pytest
import sqlalchemy as sql

from mesh import virtual_time
from mesh.inline_database import InlineDatabase
from mesh.sql import Prepared, insert

METADATA = sql.MetaData()
PARCELS = sql.Table(
    "parcels",
    METADATA,
    sql.Column("id", sql.String(64), primary_key=True),
    sql.Column("weight", sql.Integer, nullable=False),
    sql.Column("state", sql.String(16), nullable=False),
)
_ADD = Prepared(insert(PARCELS))
_OPEN = PARCELS.c.state == "OPEN"
_LIGHT = Prepared(sql.select(PARCELS.c.id).where(_OPEN, PARCELS.c.weight < sql.bindparam("max")).limit(2))
_SEND = Prepared(sql.update(PARCELS).where(_OPEN, PARCELS.c.id == sql.bindparam("one")).values(state="SENT"))
_FORGET = Prepared(sql.delete(PARCELS).where(PARCELS.c.state == "SENT"))


def test_values_that_stand_in_a_statement_are_not_given_again() -> None:
    async def main() -> tuple[list[tuple[str]], int]:
        database = InlineDatabase(METADATA)
        parcels = [("a", 1, "OPEN"), ("b", 2, "SENT"), ("c", 3, "OPEN"), ("d", 4, "OPEN"), ("e", 9, "OPEN")]
        await database.run(lambda tx: _ADD.run_many(tx, parcels))
        await database.run(lambda tx: _SEND.run_many(tx, [("a",)]))
        light = await database.run(lambda tx: _LIGHT.rows(tx, (9,)))
        return light, await database.run(_FORGET.run)

    assert virtual_time.run(main) == ([("c",), ("d",)], 2)


@pytest.mark.parametrize("given", [(), (9, 2)])
def test_too_few_or_too_many_are_refused(given: tuple[int, ...]) -> None:
    async def main() -> None:
        await InlineDatabase(METADATA).run(lambda tx: _LIGHT.rows(tx, given))

    with pytest.raises(ValueError, match="zip"):
        virtual_time.run(main)
