from __future__ import annotations

import pytest

from tests.builders import an_order
from tests.unit.audit.whole_shop import Shop


@pytest.fixture(scope="package")
def shop() -> Shop:
    """Four orders that went both ways in both styles, and one that was given up before its stock was reserved."""
    made = Shop()
    refused = {"payment_token": "tok_declined"}
    made.run(
        orchestrated=[an_order(order_id="o-done"), an_order(order_id="o-back", **refused)],
        choreographed=[
            an_order(order_id="c-done"),
            an_order(order_id="c-back", **refused),
            an_order(order_id="c-late"),
        ],
        released=[an_order(order_id="c-late")],
    )
    return made
