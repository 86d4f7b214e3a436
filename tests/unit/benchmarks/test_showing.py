"""What was measured is shown as it is: as rows, as a table, and drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts.benchmarks.document import blocks, replaced
from scripts.benchmarks.load import Round
from scripts.benchmarks.profiles import summary
from scripts.benchmarks.turns import HEAD, Subject, Turns


async def nothing() -> None: ...


FLOOR, SAGA = Subject("floor", nothing), Subject("saga", nothing, history=1000)


def turns(in_flight: int) -> Turns:
    def rounds(*per_second: float) -> list[Round]:
        return [Round(one, 1000 / one, 2000 / one, {"orders": 1e6 / one, "idle": 0.2}) for one in per_second]

    return Turns({"way": "order"}, in_flight, {FLOOR: rounds(100, 200, 400), SAGA: rounds(50, 50, 300)})


def test_a_row_says_which_processes_took_the_time() -> None:
    floor, saga = turns(64).to_json()
    assert (saga["subject"], saga["way"], saga["in_flight"], saga["history"]) == ("saga", "order", 64, 1000)
    assert (saga["per_second"], saga["per_second_min"], saga["per_second_max"]) == (50, 50, 300)
    assert (floor["cpu_us"], saga["cpu_us"]) == ({"orders": 5000}, {"orders": 20000})
    json.dumps(saga)


def test_a_table_has_a_line_for_each_subject_beside_the_floor() -> None:
    (line,) = turns(64).table()
    assert line == (
        "| order, saga after 1,000 | 64 | 200, 5.0 ms, 5,000 µs | 50, 20.0 ms, 20,000 µs "
        "| 0.50 [0.25 … 0.75] | 2.00 [1.33 … 4.00] |"
    )
    assert {one.count("|") for one in (*HEAD, line)} == {7}


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_same_rows_are_drawn_as_the_same_file(kind: str, tmp_path: Path) -> None:
    from scripts.benchmarks import plot

    rows = [row for in_flight in (16, 1) for row in turns(in_flight).to_json()]
    one, other = tmp_path / f"one.{kind}", tmp_path / f"other.{kind}"
    for file in (one, other):
        plot.draw(file, rows, "in_flight")
    assert one.read_bytes() == other.read_bytes()
    if kind == "svg":
        drawn = one.read_text()
        assert all(f"<!-- {text} -->" in drawn for text in ("way order", "in flight", "floor", "saga after 1,000"))


def test_a_profile_is_summed_up_by_who_works_and_by_who_calls(tmp_path: Path) -> None:
    file = tmp_path / "orders.folded"
    file.write_text("main (a.py);work (a.py) 30\nmain (a.py) 10\n")
    lines = [line.strip() for line in summary("orders", file)]
    assert lines[0].startswith("orders: 40 samples")
    assert lines[1:4] == ["itself", "75.0 %  work (a.py)", "25.0 %  main (a.py)"]
    assert lines[4:6] == ["with what it calls", "100.0 %  main (a.py)"]


def test_a_document_holds_what_its_benchmarks_printed() -> None:
    text = (
        "A\n<!-- scripts/bench one -->\nold\n<!-- end -->\nB\n<!-- scripts/bench two --x 1 -->\nold\n<!-- end -->\nC\n"
    )
    assert blocks(text) == [("one", "old\n"), ("two --x 1", "old\n")]
    new = replaced(text, "two --x 1", "a table\n")
    assert blocks(new) == [("one", "old\n"), ("two --x 1", "a table\n")]
    assert new.replace("a table", "old") == text
