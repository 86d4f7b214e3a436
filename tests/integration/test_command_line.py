"""`ensemble` against a mesh that runs: what its commands print, and their exit status."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.harness import RunningMesh, ensemble, eventually, running_mesh, send

PARTS = ["orders", "inventory", "payments", "shipping", "notifications", "orchestrator"]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    with running_mesh(tmp_path_factory.mktemp("command") / "mesh") as running:
        yield running


@pytest.fixture(scope="module")
def placed(mesh: RunningMesh) -> dict[str, Any]:
    """An order that has completed, as `order --json` printed it."""
    return dict(as_json(ensemble("order", "--style", "choreographed", "--json", data=mesh.data)))


def as_json(done: CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def fails(done: CompletedProcess[str], *parts: str) -> None:
    """Exit status 1, nothing but one line on standard error, which has these parts."""
    assert done.returncode == 1, done
    (line,) = done.stderr.splitlines()
    assert all(part in line for part in parts), line
    assert done.stdout == ""


def test_status_has_the_shape_of_the_contract(mesh: RunningMesh) -> None:
    status = as_json(ensemble("status", "--json", data=mesh.data))
    assert set(status) == {"parts", "nats"}
    assert [part["name"] for part in status["parts"]] == PARTS
    for part in status["parts"]:
        assert part == {
            "name": part["name"],
            "pid": mesh.pid_of(part["name"]),
            "address": mesh.address_of(part["name"]),
            "state": "SERVING",
        }
    assert status["nats"] == {"url": mesh.file.nats_url, "pid": mesh.pid_of("nats-server")}


def test_status_lists_every_part_for_people(mesh: RunningMesh) -> None:
    done = ensemble("status", data=mesh.data)
    assert done.returncode == 0
    for part in mesh.file.parts:
        assert any(line.split()[:2] == [part.name, part.address] for line in done.stdout.splitlines())


def test_a_second_up_in_the_folder_exits_1_and_says_what_to_do(mesh: RunningMesh) -> None:
    fails(ensemble("up", "--base-port", "0", data=mesh.data), f"ensemble down --data {mesh.data}")
    fails(ensemble("up", "--detach", "--base-port", "0", data=mesh.data), f"ensemble down --data {mesh.data}")
    assert ensemble("status", data=mesh.data).returncode == 0


def test_order_prints_one_json_object_an_order(mesh: RunningMesh) -> None:
    done = ensemble("order", "--json", "--count", "3", "--country", "AQ", data=mesh.data)
    assert done.returncode == 0, done.stderr
    orders = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({order["order_id"] for order in orders}) == 3
    for order in orders:
        assert order["status"] == "COMPENSATED"
        assert order["refusal"] == "NO_CARRIER"
        assert {step["method"].rpartition(".")[2] for step in order["steps"]} >= {"ReleaseStock", "VoidPayment"}


def test_an_order_that_completes_has_every_step_done_that_can_be_seen(placed: dict[str, Any]) -> None:
    assert placed["status"] == "COMPLETED"
    rest = {step["method"].rpartition(".")[2]: step["status"] for step in placed["steps"] if step["status"] != "DONE"}
    assert rest == {"RecordOrder": "TRIGGERED", "NotifyCustomer": "TRIGGERED"}  # they emit nothing


def test_a_confirmed_order_cannot_be_cancelled(mesh: RunningMesh, placed: dict[str, Any]) -> None:
    fails(ensemble("order", "cancel", placed["order_id"], data=mesh.data), "confirmed")


def test_an_order_that_nobody_knows_cannot_be_cancelled(mesh: RunningMesh) -> None:
    fails(ensemble("order", "cancel", "no-such-order", data=mesh.data), "no-such-order")


def test_saga_get_prints_one_saga(mesh: RunningMesh, placed: dict[str, Any]) -> None:
    saga = as_json(ensemble("saga", "get", placed["order_id"], "--json", data=mesh.data))
    assert saga["saga_id"] == placed["order_id"]
    assert saga["process"] == "fulfil-order"
    assert saga["status"] == "SAGA_STATUS_COMPLETED"
    assert saga["style"] == f"STYLE_{placed['style']}"
    # The refused attempt to cancel it may be among its steps as well.
    assert {step["method"] for step in saga["steps"]} >= {step["method"] for step in placed["steps"]}


def test_saga_list_prints_a_page_of_sagas_that_can_be_filtered(mesh: RunningMesh, placed: dict[str, Any]) -> None:
    style = placed["style"].lower()
    page = as_json(ensemble("saga", "list", "--status", "completed", "--style", style, "--json", data=mesh.data))
    assert placed["order_id"] in [saga["saga_id"] for saga in page["sagas"]]
    assert {saga["style"] for saga in page["sagas"]} == {f"STYLE_{placed['style']}"}
    assert page["next_page_token"] == ""


def test_saga_list_and_get_print_for_people(mesh: RunningMesh, placed: dict[str, Any]) -> None:
    assert placed["order_id"] in ensemble("saga", "list", data=mesh.data).stdout
    assert (
        "inventory.v1.InventoryService.ReserveStock"
        in ensemble("saga", "get", placed["order_id"], data=mesh.data).stdout
    )


def test_saga_watch_prints_states_until_the_end(mesh: RunningMesh, placed: dict[str, Any]) -> None:
    done = ensemble("saga", "watch", placed["order_id"], "--json", data=mesh.data)
    assert done.returncode == 0, done.stderr
    states = [json.loads(line) for line in done.stdout.splitlines()]
    assert states[-1]["status"] == "SAGA_STATUS_COMPLETED"


@pytest.mark.parametrize("action", ["get", "watch", "retry"])
def test_a_saga_that_nobody_knows_exits_1_with_one_line(mesh: RunningMesh, action: str) -> None:
    fails(ensemble("saga", action, "no-such-saga", data=mesh.data), "no-such-saga")


def test_stock_is_set_and_shown(mesh: RunningMesh) -> None:
    as_json(ensemble("stock", "spoon", "--set", "7", "--json", data=mesh.data))
    assert as_json(ensemble("stock", "spoon", "--json", data=mesh.data)) == {
        "sku": "spoon",
        "on_hand": 7,
        "reserved": 0,
    }


def test_the_audit_finds_the_books_right(mesh: RunningMesh, placed: dict[str, Any]) -> None:
    books = as_json(ensemble("audit", "--settled-within", "20s", "--json", data=mesh.data))
    assert (books["faults"], books["in_flight"], books["behind"]) == ([], [], [])
    assert books["orders"]["COMPLETED"] >= 1


async def test_a_part_that_is_killed_is_started_again_with_a_line_that_says_so(mesh: RunningMesh) -> None:
    killed = mesh.kill("shipping")

    async def serves_again() -> bool:
        return ensemble("status", data=mesh.data).returncode == 0 and mesh.pid_of("shipping") != killed

    await eventually(serves_again, within_s=30)
    assert "shipping ended (signal 9) and is started again" in mesh.log_of("supervisor")
    assert as_json(ensemble("order", "--json", data=mesh.data))["status"] == "COMPLETED"


def test_status_exits_1_where_a_part_does_not_serve(mesh: RunningMesh) -> None:
    paused = mesh.pid_of("notifications")  # not killed: it would be back before anybody looked
    send(paused, signal.SIGSTOP)
    try:
        done = ensemble("status", "--json", data=mesh.data)
    finally:
        os.kill(paused, signal.SIGCONT)
    states = {part["name"]: part["state"] for part in json.loads(done.stdout)["parts"]}
    assert (done.returncode, states["notifications"], states["orders"]) == (1, "UNREACHABLE", "SERVING")
