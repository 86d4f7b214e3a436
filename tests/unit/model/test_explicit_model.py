"""The explicit-state model, in its short form: every claim holds with the ten rules, and each rule is needed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mesh.contract import Contract
from scripts.explicit_model.case import Shop
from scripts.explicit_model.claims import BY_EVENTS, check
from scripts.explicit_model.rules import ALL, Rule

RULES = Path(__file__).resolve().parents[3] / "docs" / "rules.md"


def test_every_claim_holds_in_every_state_under_the_ten_rules() -> None:
    verdict = check(ALL, steps=2)
    assert verdict.broken == []
    assert all(count > 10_000 for count in verdict.states.values())


@pytest.mark.parametrize("rule", Rule, ids=lambda rule: rule.name)
def test_without_a_rule_a_claim_breaks(rule: Rule) -> None:
    (broken, *_) = check(ALL - {rule}, steps=1, first_only=True).broken
    assert broken.trace


def test_a_trace_tells_what_happened_from_the_beginning() -> None:
    (broken, *_) = check(ALL - {Rule.WATCH_BOTH_SIDES}, steps=2, first_only=True).broken
    assert broken.claim == BY_EVENTS
    assert broken.trace == (
        "a client calls CancelOrder",
        "all that is on its way is lost; choreography alone goes on",
    )


def test_the_model_has_the_contracts_of_the_shop() -> None:
    def short(name: str) -> str:
        return name.rpartition(".")[2]

    contract = Contract.of_packages("shop")
    process = contract.processes["fulfil-order"]
    real = {method.name: method for method in process.methods}
    modelled = Shop().methods
    assert set(modelled) == set(real)
    heard = {event for method in modelled.values() for event in method.on}
    for name, method in modelled.items():
        assert set(method.on) == {short(event) for event in real[name].on}
        assert method.joins == real[name].join_all
        assert method.compensates == short(real[name].compensates)
        # What nobody hears the model leaves out.
        assert method.emits == (short(real[name].emits) if short(real[name].emits) in heard else "")
        assert method.refuses == (short(real[name].refuses) if short(real[name].refuses) in heard else "")


def test_the_documentation_states_the_rules_as_the_model_does() -> None:
    stated = re.findall(r"^- (\d+) `(\w+)`: (.+)$", RULES.read_text(), re.MULTILINE)
    assert [(int(number), name, text) for number, name, text in stated] == [
        (rule.number, rule.name, rule.sentence) for rule in Rule
    ]
