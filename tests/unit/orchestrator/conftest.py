"""The shop's services, and a maker of engines over them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.participant import outbox
from tests.unit.orchestrator.engine_bench import EngineBench, FakeParticipants, Shop
from tests.unit.participant.participant_bench import memory_folder


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with memory_folder() as folder:
        yield folder


@pytest.fixture(autouse=True)
def quick_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "SWEEP_EVERY_S", 0.01)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    await shop.call("SetStock", sku="sku-1", on_hand=10)
    yield shop
    await shop.close()


@pytest.fixture
def participants(shop: Shop) -> FakeParticipants:
    return FakeParticipants(shop)


@pytest.fixture
async def an_engine(tmp_path: Path, participants: FakeParticipants) -> AsyncIterator[Callable[..., EngineBench]]:
    """Makes engines, one after the other, on one database."""
    made: list[EngineBench] = []

    def make(**changes: Any) -> EngineBench:
        made.append(EngineBench(tmp_path, participants, **changes))
        return made[-1]

    yield make
    participants.release()
    if made:
        await made[-1].crash()


@pytest.fixture
async def engine(an_engine: Callable[..., EngineBench]) -> EngineBench:
    return an_engine()
