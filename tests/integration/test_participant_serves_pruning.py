"""Every participant serves the pruning of its ledger beside its own service."""

from __future__ import annotations

from pathlib import Path

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from participant_process import running_service

from ensemble.participant.v1.participant_pb2 import PruneLedgerRequest
from ensemble.participant.v1.participant_pb2_grpc import LedgerServiceStub

LEDGER = "ensemble.participant.v1.LedgerService"


async def test_reflection_and_health_name_the_ledgers_service(tmp_path: Path) -> None:
    with running_service("payments", tmp_path, ENSEMBLE_NATS_URL="nats://127.0.0.1:1") as service:
        async with grpc.aio.insecure_channel(await service.address()) as channel:
            reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
            answers = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
            listed = {one.name async for answer in answers for one in answer.list_services_response.service}
            assert {LEDGER, "shop.payments.v1.PaymentsService"} <= listed
            health = health_pb2_grpc.HealthStub(channel)
            state = await health.Check(health_pb2.HealthCheckRequest(service=LEDGER), timeout=5)
            assert state.status == health_pb2.HealthCheckResponse.SERVING
            answer = await LedgerServiceStub(channel).PruneLedger(PruneLedgerRequest(saga_ids=["none"]), timeout=5)
            assert answer.rows == 0
