"""What follows from what was measured."""

from __future__ import annotations

import json
import math

from console.comparison.flow import Sample
from console.comparison.result import Healthy, Round
from mesh.percentile import percentile
from tests.unit.comparison.builders import a_comparison, ended, under_fault


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([7.0], 0.99)) == (51.0, 100.0, 7.0)
    assert math.isnan(percentile([], 0.5))


def test_throughput_is_the_median_round_s_and_costs_are_of_all_orders() -> None:
    rounds = [Round([ended(0, 0.1)] * count, 2.0, messages=8 * count, calls=9 * count) for count in (10, 40, 20)]
    healthy = Healthy(rounds)
    assert (healthy.per_second, healthy.messages_per_order, healthy.calls_per_order) == (10.0, 8.0, 9.0)


def test_only_what_ended_before_the_fault_did_went_on_meanwhile() -> None:
    measured = under_fault(ended(1.0, 0.1), ended(2.0, 0.1), ended(3.0, 5.0), ended(6.5, 0.1))
    assert (len(measured.during), measured.accepted_during, measured.ended_during) == (2, 2, 1)


def test_an_order_that_was_taken_only_afterwards_was_not_taken_meanwhile() -> None:
    measured = under_fault(ended(3.0, 4.0, accepted_after_s=3.5), ended(3.0, 4.0, accepted_after_s=2.5))
    assert measured.accepted_during == 1


def test_recovery_lasts_until_the_last_order_from_before_has_ended() -> None:
    assert under_fault(ended(1.0, 0.1), ended(5.0, 3.5), ended(7.0, 9.0)).recovery_s == 2.5
    assert under_fault(ended(3.0, 0.1)).recovery_s == 0.0


def test_an_order_that_never_ended_is_counted_and_makes_the_comparison_fail() -> None:
    lost = under_fault(ended(3.0, 0.1), Sample("lost", 3.5, 3.6))
    assert lost.open == 1
    comparison = a_comparison()
    assert comparison.good
    comparison.scenarios[0].styles["HYBRID"] = lost
    assert not comparison.good


def test_books_that_are_wrong_make_the_comparison_fail() -> None:
    assert not a_comparison(faults=["stock of teapot: 1 missing"]).good


def test_as_json_it_has_every_style_in_every_part() -> None:
    found = json.loads(json.dumps(a_comparison().to_json()))
    styles = {"ORCHESTRATED", "CHOREOGRAPHED", "HYBRID"}
    assert styles == found["healthy"].keys() == found["coupling"].keys() == found["scenarios"][0]["styles"].keys()
    assert found["healthy"]["HYBRID"]["messages_per_order"] == 8.0
    assert found["scenarios"][0]["styles"]["HYBRID"]["samples"][0]["placed_s"] == 3.0


def test_where_nothing_ended_json_says_null_and_no_nan() -> None:
    nothing = under_fault(Sample("lost", 3.5))
    found = json.loads(json.dumps(nothing.to_json(), allow_nan=False))
    assert (found["p50_s"], found["longest_s"], found["open"]) == (None, None, 1)
    json.dumps(Healthy([Round([Sample("lost", 0.0)], 1.0, 0, 0)]).to_json(), allow_nan=False)
