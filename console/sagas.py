"""`ensemble saga …`: the orchestrator's API for people."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from google.protobuf import json_format

from console.client import MeshClient
from console.display import SIGNS, console, trouble_lines, waiting
from console.orders import READ_TIMEOUT_S, step_status
from ensemble.orchestrator.v1 import orchestrator_pb2 as api
from mesh import registry

# The orchestrator answers after half of it, with what it has done by then.
PRUNE_TIMEOUT_S = 60.0


_VERDICTS = {
    api.CancelVerdict.CANCEL_VERDICT_CANCELLED: "cancelled in time: what was done is being reversed",
    api.CancelVerdict.CANCEL_VERDICT_TOO_LATE: "too late: the pivot had decided, and the saga goes forward",
    api.CancelVerdict.CANCEL_VERDICT_UNSPECIFIED: "not decided yet, and kept: `ensemble saga watch` shows the end",
}


def status_name(saga: api.Saga) -> str:
    """E.g. RUNNING."""
    return api.SagaStatus.Name(saga.status).removeprefix("SAGA_STATUS_")


def style_name(saga: api.Saga) -> str:
    """E.g. CHOREOGRAPHED."""
    return api.Style.Name(saga.style).removeprefix("STYLE_")


def show(saga: api.Saga, *, as_json: bool) -> None:
    """Prints one saga with its steps."""
    if as_json:
        print(json.dumps(_plain(saga)), flush=True)
        return
    process = f"{saga.process} v{saga.version}" if saga.version > 1 else saga.process
    console.print(f"{saga.saga_id}  {process}  {style_name(saga).lower()}  {status_name(saga)}", markup=False)
    if saga.parent:
        console.print(f"  started by: {saga.parent}", markup=False)
    if saga.refusal.reason:
        console.print(f"  refused: {saga.refusal.reason}", markup=False)
    for line in trouble_lines(saga):
        console.print(f"  {line}", markup=False)
    for step in saga.steps:
        sign, _ = SIGNS[step_status(step)]
        key = f" {step.step_key}" if step.step_key else ""
        error = f"  {step.last_error}" if step.last_error else ""
        tries = f"  tries {step.attempts}" if step.attempts else ""
        console.print(f"  {sign} {step.method}{key}{tries}{error}{waiting(step)}", markup=False)
    if saga.HasField("wakes"):
        console.print(f"  waits, until {saga.wakes.ToDatetime().isoformat(timespec='seconds')}Z at most", markup=False)


async def cancel(mesh: MeshClient, saga_id: str, *, as_json: bool) -> None:
    """Asks for the no-go side, and prints who won."""
    answer = await mesh.orchestrator.CancelSaga(api.CancelSagaRequest(saga_id=saga_id), timeout=READ_TIMEOUT_S)
    if as_json:
        name = api.CancelVerdict.Name(answer.verdict).removeprefix("CANCEL_VERDICT_")
        verdict = {"CANCELLED": "CANCELLED", "TOO_LATE": "TOO_LATE"}.get(name, "UNDECIDED")
        print(json.dumps({**_plain(answer.saga), "verdict": verdict}), flush=True)
        return
    show(answer.saga, as_json=False)
    console.print(_VERDICTS[answer.verdict], markup=False)


async def list_sagas(mesh: MeshClient, request: api.ListSagasRequest, *, as_json: bool) -> None:
    """Prints a page of sagas."""
    page = await mesh.orchestrator.ListSagas(request, timeout=READ_TIMEOUT_S)
    if as_json:
        body = {"sagas": [_plain(saga) for saga in page.sagas], "next_page_token": page.next_page_token}
        print(json.dumps(body), flush=True)
        return
    for saga in page.sagas:  # lines, not a table: a table fits itself to the terminal and cuts the ids
        updated = saga.updated.ToDatetime().isoformat(timespec="seconds")
        line = f"{saga.saga_id:<36}  {saga.process:<16}  {style_name(saga).lower():<13}  {status_name(saga):<12}"
        console.print(f"{line}  {updated}Z", markup=False)
        for why in trouble_lines(saga) if request.stalled else ():
            console.print(f"  {why}", markup=False)
    if page.next_page_token:
        console.print(f"more: --page {page.next_page_token}", markup=False)


async def act(mesh: MeshClient, action: str, saga_id: str) -> api.Saga:
    """Calls the method of an action: get, retry, hand-over or adopt."""
    stub = mesh.orchestrator
    if action == "get":
        return (await stub.GetSaga(api.GetSagaRequest(saga_id=saga_id), timeout=READ_TIMEOUT_S)).saga
    if action == "retry":
        return (await stub.RetrySaga(api.RetrySagaRequest(saga_id=saga_id), timeout=READ_TIMEOUT_S)).saga
    if action == "hand-over":
        return (await stub.HandOver(api.HandOverRequest(saga_id=saga_id), timeout=READ_TIMEOUT_S)).saga
    return (await stub.Adopt(api.AdoptRequest(saga_id=saga_id), timeout=READ_TIMEOUT_S)).saga


async def watch(mesh: MeshClient, saga_id: str, *, as_json: bool) -> None:
    """Prints a saga whenever it changes, until it has ended."""
    async for update in mesh.orchestrator.WatchSaga(api.WatchSagaRequest(saga_id=saga_id)):
        show(update.saga, as_json=as_json)


async def prune(mesh: MeshClient, older_than: timedelta, *, as_json: bool) -> None:
    """Prunes until nothing is left that may go, call by call, and prints what went."""
    request = api.PruneSagasRequest()
    request.older_than.FromTimedelta(older_than)
    sagas = ledger_rows = 0
    while (pruned := await mesh.orchestrator.PruneSagas(request, timeout=PRUNE_TIMEOUT_S)).sagas:
        sagas, ledger_rows = sagas + pruned.sagas, ledger_rows + pruned.ledger_rows
    if as_json:
        print(json.dumps({"sagas": sagas, "ledger_rows": ledger_rows}), flush=True)
    else:
        console.print(f"pruned: {sagas} sagas, {ledger_rows} rows of ledgers", markup=False)


def _plain(saga: api.Saga) -> dict[str, Any]:
    try:
        registry.message_class(saga.input.TypeName())  # JSON shows the input as what it is, once its module is there
    except registry.UnknownName:
        saga.ClearField("input")
    return json_format.MessageToDict(saga, preserving_proto_field_name=True)
