"""Asks participants to forget sagas (ensemble.participant.v1)."""

from __future__ import annotations

from typing import Protocol

import grpc.aio

from ensemble.participant.v1.participant_pb2 import PruneLedgerRequest, PruneLedgerResponse
from ensemble.participant.v1.participant_pb2_grpc import LedgerServiceStub
from mesh.addresses import Addresses, UnknownAddress
from mesh.errors import Unavailable


class Ledgers(Protocol):
    """The ledgers of the participants, by their names in the mesh."""

    async def prune(self, participant: str, request: PruneLedgerRequest) -> PruneLedgerResponse:
        """One try; raises Unavailable, which names the participant. Whether it forgot anything is then in doubt."""


class RemoteLedgers:
    """Those of a running mesh. They are asked now and then, so a connection is made for every call."""

    def __init__(self, addresses: Addresses, timeout_s: float) -> None:
        self._addresses = addresses
        self._timeout_s = timeout_s

    async def prune(self, participant: str, request: PruneLedgerRequest) -> PruneLedgerResponse:
        """One try; raises Unavailable."""
        try:
            async with self._addresses.channel(participant) as channel:
                return await LedgerServiceStub(channel).PruneLedger(request, timeout=self._timeout_s)
        except UnknownAddress as error:
            raise _away(participant, str(error)) from None
        except grpc.aio.AioRpcError as error:  # an answer that is no OK stops the pruning, whichever it is
            raise _away(participant, f"{error.code().name}: {error.details()}") from None


def _away(participant: str, why: str) -> Unavailable:
    return Unavailable(f"{participant} does not prune its ledger now: {why}", reason="LEDGER_UNAVAILABLE")
