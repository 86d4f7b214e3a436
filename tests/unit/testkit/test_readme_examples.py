"""The README's sections on workflows and on testing, run as they stand there."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from orchestrator.testing import WorkflowTest
from shop.orders.v1.events_pb2 import OrderPlaced
from shop.payments.v1.events_pb2 import PaymentCaptured
from tests.builders import an_order

README = Path(__file__).resolve().parents[3] / "README.md"
WORKFLOWS = README.read_text().split("## Writing a workflow")[1].split("\n## ")[0]
SECTION = README.read_text().split("## Testing your workflow and your handlers")[1].split("\n## ")[0]
EXAMPLES = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


def claims_of(example: str) -> list[Callable[[], None]]:
    names: dict[str, Any] = {}
    exec(compile(example, str(README), "exec"), names)
    return [value for name, value in names.items() if name.startswith("test_")]


@pytest.mark.parametrize("example", EXAMPLES, ids=["a first test", "faults", "a handler"])
def test_an_example_of_the_readme_passes(example: str) -> None:
    claims = claims_of(example)
    assert claims
    for claim in claims:
        claim()


def test_the_workflow_of_the_readme_waits_for_its_payment_and_a_day() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", WORKFLOWS, re.DOTALL)
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(example.replace("prepaid-order", f"prepaid-{uuid4()}"), str(README), "exec"), names)
    test, order = WorkflowTest(names["prepaid"]), an_order()
    test.publish(PaymentCaptured(order=order), after=timedelta(days=3))
    saga = test.run(OrderPlaced(order=order))
    assert saga.status == "COMPLETED"
    assert timedelta(days=4) <= saga.took < timedelta(days=4, seconds=1)
    assert test.called == ["RecordOrder", "CompleteOrder"]
    (request,) = test.requests("CompleteOrder")
    assert request.tracking_number.startswith(f"EN-{test.now:%Y%m%d}-")


def test_a_first_test_takes_ten_lines() -> None:
    assert len([line for line in EXAMPLES[0].splitlines() if line]) <= 10
