"""What a run of a fault is judged by: a run in which the fault did not happen has failed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from console.audit import Books
from scripts.faulting.fault import MET, Fault, NotPossible, Place
from scripts.faulting.ground import Ground
from scripts.faulting.logs import unhandled
from scripts.faulting.report import markdown
from scripts.faulting.result import FAILED, HELD, NOT_POSSIBLE, Result
from scripts.faulting.run import judge, run


class Nothing(Fault):
    name = "nothing"
    does = "nothing at all"
    proof = ("things done",)

    async def strike(self, ground: Ground) -> None:
        pass


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """After a run in which all was well."""
    (tmp_path / "logs").mkdir()
    ground = Ground(Place(tmp_path), {})
    ground.counts = Counter({MET: 3, "things done": 1})
    ground.orders.acknowledged = 2
    ground.orders.ends = Counter(COMPLETED=1, COMPENSATED=1)
    return ground


GOOD = Books(orders={"COMPLETED": 1, "COMPENSATED": 1})


def test_a_run_holds_where_nothing_speaks_against_it(ground: Ground) -> None:
    assert list(judge(Nothing(), ground, GOOD)) == []


@pytest.mark.parametrize("missing", [MET, "things done"])
def test_a_fault_that_did_not_happen_or_met_no_order_has_failed(ground: Ground, missing: str) -> None:
    del ground.counts[missing]
    assert list(judge(Nothing(), ground, GOOD)) == [f"the fault did not happen: none {missing}"]


@pytest.mark.parametrize(
    "books",
    [Books(orders=GOOD.orders, faults=["article x: -1 on hand"]), Books(orders={"COMPLETED": 1})],
    ids=["a fault", "an order lost"],
)
def test_books_that_are_not_right_are_told(ground: Ground, books: Books) -> None:
    assert len(list(judge(Nothing(), ground, books))) == 1


def test_both_endings_have_to_be_there(ground: Ground) -> None:
    del ground.orders.ends["COMPENSATED"]
    assert len(list(judge(Nothing(), ground, GOOD))) == 1


def test_what_nobody_handled_is_told_unless_the_fault_breaks_disks(ground: Ground) -> None:
    line = json.dumps({"levelname": "ERROR", "message": "a bug", "exc_info": "Traceback …"})
    (ground.place.data / "logs" / "orders.log").write_text(f"{line}\n{line[:20]}")
    assert [told[:11] for told in judge(Nothing(), ground, GOOD)] == ["orders logg"]
    breaking = type("Breaking", (Nothing,), {"logs_errors": True})()
    assert list(judge(breaking, ground, GOOD)) == []


def test_a_quarrel_about_keepalive_is_told() -> None:
    assert list(unhandled({"orders": "GOAWAY too_many_pings"})) == [
        "orders: client and server disagree about keepalive"
    ]


async def test_a_machine_that_cannot_do_it_says_so_and_that_is_no_success(tmp_path: Path) -> None:
    class Impossible(Nothing):
        def place(self, folder: Path) -> object:  # type: ignore[override]
            raise NotPossible("it needs a moon")

    result = await run(Impossible(), tmp_path, orders=1, seed=0)
    assert result.verdict == NOT_POSSIBLE
    assert result.text() == "nothing: not possible here: it needs a moon"


def test_the_report_has_a_row_for_each_fault_with_its_counts() -> None:
    held = Result(
        "kills", "", 1, orders=20, ends=Counter(COMPLETED=20), delays_s=[0.5, 3.25], happened=Counter(kills=7)
    )
    failed = Result("pauses", "", 1, orders=20, faults=["order 7 has not ended"])
    missing = Result("power-cut", "", 1, missing="it needs root")
    assert [one.verdict for one in (held, failed, missing)] == [HELD, FAILED, NOT_POSSIBLE]
    text = markdown([held, failed, missing], "2 cores", "scripts/faults")
    assert "| kills | held | 20 | 20 completed | nothing | 7 kills | 1.9 s | 3.2 s | exact |" in text
    assert "| order 7 has not ended |" in text
    assert "| power-cut | not possible here: it needs root |" in text
