"""What is in flight, what is late and what was pruned is told apart from what is wrong."""

from __future__ import annotations

import sqlalchemy as sql

from mesh.settings import EVENTS_KEPT_S
from orchestrator.tables import SAGAS, STEPS
from services.orders.tables import ORDERS
from services.participant.participant import ARRIVALS, LEDGER
from services.payments.tables import AUTHORIZATIONS
from shop.inventory.v1.inventory_pb2 import ReserveStockRequest
from shop.orders.v1.order_pb2 import OrderStatus
from tests.builders import an_order
from tests.unit.audit.test_wrong_rows import change, remove
from tests.unit.audit.whole_shop import PROCESS, Shop

RUNNING, SAGA_COMPLETED, STALLED = 1, 3, 5


def forgotten(saga_id: str) -> dict[str, list[sql.Executable]]:
    """What pruning does to a saga."""
    ledgers = {name: [remove(LEDGER, saga_id)] for name in ("orders", "inventory", "payments", "shipping")}
    return {**ledgers, "notifications": [remove(LEDGER, saga_id)]}


def test_an_order_that_has_not_ended_is_in_flight_and_not_judged_by_its_effects(shop: Shop) -> None:
    books = shop.books_after(
        "orders",
        change(ORDERS, "o-done", status=OrderStatus.ORDER_STATUS_CONFIRMED, tracking_number=""),
        remove(LEDGER, "o-done", "CompleteOrder"),
        also={"orchestrator": [change(SAGAS, "o-done", status=RUNNING), remove(STEPS, "o-done", "CompleteOrder")]},
    )
    assert (books.faults, books.in_flight, books.behind) == ([], ["o-done"], [])
    books.judge_as_settled()
    assert books.faults == ["order o-done has not ended"]


def test_what_is_due_is_no_fault_while_an_order_is_in_flight_and_one_once_all_has_settled(shop: Shop) -> None:
    books = shop.books_after(
        "orders",
        change(ORDERS, "c-done", status=OrderStatus.ORDER_STATUS_CONFIRMED),
        remove(LEDGER, "c-done", "CompleteOrder"),
        change(LEDGER, "c-done", "ConfirmOrder", due="choreographed"),
        also={"orchestrator": [remove(SAGAS, "c-done"), remove(STEPS, "c-done")]},
    )
    assert (books.faults, books.unpublished) == ([], {"orders": 1})
    books.judge_as_settled()
    assert books.faults == ["order c-done has not ended", "orders: 1 events are due and unpublished"]


def test_an_orchestrator_that_is_late_is_behind(shop: Shop) -> None:
    running = change(SAGAS, "o-done", status=RUNNING)
    books = shop.books_after("orchestrator", running, remove(SAGAS, "c-done"))
    assert (books.faults, books.behind) == ([], ["c-done", "o-done"])
    books.judge_as_settled()
    assert books.faults == [f"order {id_} has ended, and for the orchestrator it has not" for id_ in books.behind]


def test_of_an_order_that_others_drive_by_plain_calls_the_orchestrator_need_not_hear(shop: Shop) -> None:
    assert shop.books_after("orchestrator", remove(SAGAS, "o-done"), remove(STEPS, "o-done")).at_rest


def test_a_saga_that_is_no_orders_is_open_until_it_has_ended(shop: Shop) -> None:
    books = shop.books_after("orchestrator", change(SAGAS, "c-done", process="promise-delivery", status=STALLED))
    assert (books.faults, books.behind, books.open_sagas) == ([], [], ["c-done"])
    books.judge_as_settled()
    assert books.faults == ["saga c-done has not ended"]


def test_without_an_orchestrator_only_the_services_are_judged(shop: Shop) -> None:
    assert shop.books(without="orchestrator").at_rest


def test_a_stray_reservation_is_listed_and_its_stock_is_accounted_for(shop: Shop) -> None:
    order = an_order(order_id="stray")
    books = shop.books_after_call("inventory", "ReserveStock", ReserveStockRequest(order=order))
    assert (books.faults, books.strays) == ([], ["stray"])


def test_what_was_pruned_is_not_judged_by_its_ledgers(shop: Shop) -> None:
    old_us = shop.now_us - (EVENTS_KEPT_S + 1) * 1_000_000
    for saga_id in ("o-done", "c-back"):
        aged = change(ORDERS, saga_id, updated_us=old_us)
        gone = {"orchestrator": [remove(SAGAS, saga_id), remove(STEPS, saga_id)], **forgotten(saga_id)}
        gone["orders"] += [sql.delete(ARRIVALS).where(ARRIVALS.c.saga_id == saga_id)] if saga_id == "c-back" else []
        books = shop.books_after("orders", aged, also=gone)
        assert (books.faults, books.at_rest) == ([], True)


def test_one_ledger_may_have_forgotten_what_others_still_know(shop: Shop) -> None:
    aged = change(ORDERS, "o-done", updated_us=shop.now_us - (EVENTS_KEPT_S + 1) * 1_000_000)
    assert shop.books_after("orders", aged, also={"payments": [remove(LEDGER, "o-done")]}).faults == []


def test_what_was_pruned_is_still_judged_by_its_effects(shop: Shop) -> None:
    aged = change(ORDERS, "o-done", updated_us=shop.now_us - (EVENTS_KEPT_S + 1) * 1_000_000)
    gone = forgotten("o-done")
    gone["payments"].append(change(AUTHORIZATIONS, "o-done", state="VOIDED"))
    faults = shop.books_after("orders", aged, also=gone).faults
    assert faults == ["order o-done is COMPLETED, but its payment is VOIDED"]


def test_nobody_is_taken_at_his_word_who_cannot_have_been_pruned(shop: Shop) -> None:
    faults = shop.faults_after("inventory", remove(LEDGER, "o-done"))
    assert faults == [
        "order o-done is COMPLETED, but its reserved is False",
        "saga o-done: inventory.ReserveStock is DONE for the orchestrator, but None in its ledger",
        "saga o-done has ended with orders.CompleteOrder, but inventory.ReserveStock is not done",
        "article sku-1: 2 reserved, but the orders hold 1",
    ]


def test_a_saga_of_another_process_by_the_side_of_an_order_need_not_end_like_it(shop: Shop) -> None:
    by_its_side = change(SAGAS, "c-back", process="promise-delivery", status=SAGA_COMPLETED)
    assert PROCESS != "promise-delivery"
    assert shop.faults_after("orchestrator", by_its_side) == []
