"""What overload is judged by."""

from __future__ import annotations

from scripts.faulting.overload import broken


def turn(goodput: float = 1.0, answer: float = 1.0) -> dict[str, float]:
    return {"goodput": goodput, "p99 to the answer": answer}


def test_the_middle_one_of_the_turns_is_judged() -> None:
    assert list(broken([turn(answer=9.0), turn(answer=1.9), turn(answer=1.0)])) == []
    assert list(broken([turn(answer=9.0), turn(answer=2.1), turn(answer=1.0)])) == [
        "p99 to the answer is 2.10 of the peak's"
    ]
    assert list(broken([turn(goodput=0.7)])) == ["goodput is 0.70 of the peak's"]


def test_where_nothing_was_measured_nothing_holds() -> None:
    nan = float("nan")
    assert len(list(broken([turn(nan, nan)]))) == 2
