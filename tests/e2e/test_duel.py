"""The duel: every order is driven by both styles at once. `scripts/duel` runs a thousand of them."""

from __future__ import annotations

from console.client import MeshClient
from scripts.duelling.duel import IN_TIME, TOO_LATE, duel
from tests.harness import RunningMesh


async def test_orders_that_both_styles_drive_at_once_have_every_effect_once_and_one_end(
    mesh: RunningMesh, client: MeshClient
) -> None:
    report = await duel(client, mesh.settings, 100, at_once=20)
    assert report.faults == []
    assert report.ends.total() == 100
    assert report.ends["COMPLETED"] >= 50
    assert report.ends["COMPENSATED"] >= 20
    assert report.cancellations[IN_TIME] + report.cancellations[TOO_LATE] == 34
