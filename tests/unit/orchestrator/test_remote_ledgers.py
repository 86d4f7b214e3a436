"""A ledger that cannot be asked is named, with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from ensemble.participant.v1.participant_pb2 import PruneLedgerRequest
from mesh.addresses import Addresses
from mesh.errors import Unavailable
from mesh.settings import Settings
from orchestrator.ledgers import RemoteLedgers
from tests.unit.mesh.serving import serving

REQUEST = PruneLedgerRequest(saga_ids=["one"])


async def why(addresses: dict[str, str], folder: Path) -> str:
    """What is said where payments cannot be asked."""
    ledgers = RemoteLedgers(Addresses(Settings(data=folder, addresses=addresses)), timeout_s=5)
    with pytest.raises(Unavailable) as raised:
        await ledgers.prune("payments", REQUEST)
    assert str(raised.value).startswith("payments does not prune its ledger now: ")
    return str(raised.value)


async def test_a_participant_that_is_away_is_named(tmp_path: Path) -> None:
    assert "UNAVAILABLE" in await why({"payments": "127.0.0.1:1"}, tmp_path)


async def test_a_participant_of_which_nobody_knows_where_it_is_is_named(tmp_path: Path) -> None:
    assert "nobody knows where 'payments' is" in await why({}, tmp_path)


async def test_a_participant_that_cannot_prune_yet_stops_it(tmp_path: Path) -> None:
    async with serving() as server:
        assert "UNIMPLEMENTED" in await why({"payments": server.server.address}, tmp_path)
