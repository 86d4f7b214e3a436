"""PruneSagas answers within its caller's deadline, with what it has done by then."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from ensemble.orchestrator.v1.orchestrator_pb2 import PruneSagasRequest
from mesh import validation
from mesh.errors import Invalid
from mesh.settings import DAY_S, Settings, WrongSetting, load_settings
from orchestrator.api import PRUNE_S, OrchestratorService
from orchestrator.pruning import Pruned


class FakePruning:
    """Writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, float]] = []

    async def prune(self, older_than_s: float, within_s: float = math.inf) -> Pruned:
        self.asked.append((older_than_s, within_s))
        return Pruned(3, 40)


class FakeContext:
    """A call with a deadline, or without."""

    def __init__(self, left_s: float | None) -> None:
        self._left_s = left_s

    def time_remaining(self) -> float | None:
        return self._left_s


@pytest.mark.parametrize(("left_s", "within_s"), [(None, PRUNE_S), (10.0, 5.0), (3600.0, PRUNE_S)])
async def test_half_of_the_callers_time_is_for_the_last_batch(left_s: float | None, within_s: float) -> None:
    pruning: Any = FakePruning()
    nothing: Any = None
    service = OrchestratorService(nothing, nothing, nothing, nothing, nothing, pruning)
    request = PruneSagasRequest(older_than=Duration(seconds=8 * DAY_S))
    answer = await service.PruneSagas(request, FakeContext(left_s))
    assert (answer.sagas, answer.ledger_rows) == (3, 40)
    assert pruning.asked == [(8 * DAY_S, within_s)]


def test_a_request_without_an_age_is_invalid() -> None:
    with pytest.raises(Invalid):
        validation.validate(PruneSagasRequest())


def test_the_setting_takes_never_and_what_outlives_the_stream() -> None:
    assert Settings().prune_after_s == 30 * DAY_S
    assert load_settings(prune_after_s=0).prune_after_s == 0
    assert load_settings(prune_after_s=7 * DAY_S).prune_after_s == 7 * DAY_S


@pytest.mark.parametrize("seconds", [-1, 1, 7 * DAY_S - 1])
def test_the_setting_refuses_what_does_not_outlive_the_stream(seconds: float) -> None:
    with pytest.raises(WrongSetting, match="ENSEMBLE_PRUNE_AFTER_S"):
        load_settings(prune_after_s=seconds)
