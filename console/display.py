"""What is printed of orders: drawn live on a terminal, as plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from console.orders import PLACING, Changed, Followed, step_status
from ensemble.orchestrator.v1 import orchestrator_pb2 as api

if TYPE_CHECKING:  # the audit brings SQLAlchemy with it: half a second that no other command needs
    from console.audit import Books

SIGNS = {
    "DONE": ("✔", "green"),
    "REFUSED": ("✘", "red"),
    "FAILED": ("!", "red"),
    "RUNNING": ("…", "yellow"),
    "PLANNED": ("·", "bright_black"),
    "TRIGGERED": ("→", "cyan"),
}
# Of these nothing is said yet where each step is told once.
TO_COME = (api.StepStatus.STEP_STATUS_RUNNING, api.StepStatus.STEP_STATUS_PLANNED)
COLOURS = {"COMPLETED": "green", "COMPENSATED": "yellow", "CANCELLED": "yellow"}

# More orders than this are shown by one line each, when they end.
DRAWN_MAX = 5

console = Console(highlight=False, soft_wrap=True)


@contextmanager
def following(count: int) -> Iterator[Changed]:
    """What to call at every change of an order."""
    if console.is_terminal and count <= DRAWN_MAX:
        yield from _drawing()
    else:
        yield _Lines(each_step=count <= DRAWN_MAX)


def _drawing() -> Iterator[Changed]:
    orders: dict[str, Followed] = {}
    with Live(console=console, refresh_per_second=20) as live:

        def changed(followed: Followed) -> None:
            orders[followed.order.order_id] = followed
            live.update(Group(*(_drawn(one) for one in orders.values())))

        yield changed


def _drawn(followed: Followed) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row(Text(_headline(followed), style=f"bold {COLOURS.get(followed.status, 'cyan')}"))
    for step in followed.saga.steps:
        sign, colour = SIGNS[step_status(step)]
        table.add_row(Text(f"  {sign} {_step_line(step)}", style=colour))
    for line in trouble_lines(followed.saga):
        table.add_row(Text(f"  {line}", style="red"))
    return table


class _Lines:
    """Says each thing once: a step when it is answered, an order when its status changes."""

    def __init__(self, *, each_step: bool) -> None:
        self._each_step = each_step
        self._said: set[tuple[str, str]] = set()

    def __call__(self, followed: Followed) -> None:
        if self._each_step:
            for step in followed.saga.steps:
                if step.status not in TO_COME:
                    sign, _ = SIGNS[step_status(step)]
                    self._say(followed, f"  {sign} {_step_line(step)}")
            for line in trouble_lines(followed.saga):
                self._say(followed, f"  {line}")
        if (self._each_step and followed.status != PLACING) or followed.status in ("COMPLETED", "COMPENSATED"):
            self._say(followed, _status_line(followed))

    def _say(self, followed: Followed, line: str) -> None:
        key = (followed.order.order_id, line)
        if key not in self._said:
            self._said.add(key)
            console.print(f"[{followed.order.order_id[-8:]}] {line}", markup=False)


def _headline(followed: Followed) -> str:
    return f"order {followed.order.order_id}  {_status_line(followed)}  {followed.seconds:.2f} s"


def _status_line(followed: Followed) -> str:
    return f"{followed.taken.lower()}: {followed.status}"


def _step_line(step: api.Step) -> str:
    service, _, method = step.method.rpartition(".")
    name = f"{service.split('.')[-3]}.{method}" if service.count(".") >= 2 else step.method
    error = f"  {step.last_error}" if step.last_error else ""
    tries = f"  ({step.attempts} tries)" if step.attempts > 1 else ""
    return f"{name}{tries}{error}{waiting(step)}"


def waiting(step: api.Step) -> str:
    """What a planned step waits for."""
    events = ", ".join(event.rpartition(".")[2] for event in step.waits_for)
    return f"  waits for {events}" if events else ""


def trouble_lines(saga: api.Saga) -> list[str]:
    """Why a saga does not get on, and what to do; nothing where it does."""
    lines = [f"dead letter {one.id} of {one.service}: {one.event}: {one.reason}" for one in saga.dead_letters]
    if saga.stalled_reason:
        return [*lines, f"stalled: {saga.stalled_reason}", f"help: {saga.stalled_help}"]
    return [*lines, f"late: {saga.late}", *(f"  {what}" for what in saga.waits_for)] if saga.late else lines


def show_books(books: Books) -> None:
    """Prints what an audit found."""
    counts = ", ".join(f"{count} {status.lower()}" for status, count in books.orders.items()) or "none"
    console.print(f"orders: {counts}", markup=False)
    for sku, numbers in books.stock.items():
        total = sum(numbers.values())
        parts = " + ".join(f"{number} {what.replace('_', ' ')}" for what, number in numbers.items())
        console.print(f"stock of {sku}: {parts} = {total}", markup=False)
    for account, nanos in books.money_nanos.items():
        money = {what: f"{amount / 10**9:,.2f}" for what, amount in nanos.items()}
        parts = " + ".join(f"{money[what]} {what}" for what in ("captured", "voided", "open"))
        console.print(f"account {account}: {parts} = {money['authorized']} authorised", markup=False)
    if books.in_flight:
        console.print(f"in flight: {len(books.in_flight)} orders", markup=False)
    if books.behind:
        console.print(f"ended, and for the orchestrator not yet: {len(books.behind)} orders", markup=False)
    if books.open_sagas:
        console.print(f"sagas that have not ended, and are not an order's: {len(books.open_sagas)}", markup=False)
    if books.strays:
        console.print(f"reserved without an order, not judged: {len(books.strays)}", markup=False)
    for fault in books.faults:
        console.print(f"FAULT: {fault}", markup=False, style="red")
    if not books.faults:
        console.print("the books are right", style="green")
