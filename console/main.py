"""`ensemble` and its commands. Exit status: 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
import grpc.aio

from mesh.addresses import UnknownAddress
from mesh.settings import Settings, WrongSetting, load_settings

T = TypeVar("T")

STYLES = ("orchestrated", "choreographed", "hybrid")

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="ENSEMBLE_DATA",
    default=Path(".ensemble"),
    show_default=True,
    help="Folder of the mesh (also ENSEMBLE_DATA).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Failed(click.ClickException):
    """A command that failed: one line, exit status 1."""


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Runs a command; what may go wrong becomes one line that says what to do."""
    try:
        return asyncio.run(main())
    except grpc.aio.AioRpcError as error:
        raise Failed(_explain(error)) from None
    except (UnknownAddress, OSError) as error:
        raise Failed(" ".join(str(error).split())) from None


def _explain(error: grpc.aio.AioRpcError) -> str:
    if error.code() is grpc.StatusCode.UNAVAILABLE and "recorded" not in (error.details() or ""):
        return "the service cannot be reached; `ensemble status` shows what runs"
    return f"{error.code().name}: {error.details()}"


def settings_for(data: Path) -> Settings:
    """The settings of the mesh in a folder."""
    try:
        return load_settings(data=data)
    except WrongSetting as error:
        raise click.UsageError(str(error)) from None


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ensemble-mesh")
def main() -> None:
    """Ensemble: one contract, orchestrated and choreographed."""


@main.command()
@data_option
@click.option(
    "--base-port",
    default=50051,
    show_default=True,
    type=click.IntRange(0, 65000),
    help="First port to use; the next free ones follow. 0: any free ones.",
)
@click.option("--detach", is_flag=True, help="Run in the background; return once all parts serve.")
@click.option("--replicas", metavar="NAME=N", multiple=True, help="Run a service several times (PostgreSQL only).")
def up(data: Path, base_port: int, detach: bool, replicas: tuple[str, ...]) -> None:
    """Start the broker, every service and the orchestrator; end all on Ctrl-C, in order."""
    from console import control, supervisor

    if replicas:
        raise click.UsageError(
            "replicas share a database, which SQLite files do not allow (one process owns a file): "
            "they need PostgreSQL, which is not supported yet; leave --replicas out"
        )
    data = data.resolve()
    try:
        if detach:
            _print_parts(data, asyncio.run(control.health(control.up_detached(data, base_port))))
            return
        asyncio.run(_up(supervisor.Supervisor(data, base_port, _say, settings_for(data).nats_url), data))
    except (supervisor.CannotStart, control.StartFailed, OSError) as error:
        raise Failed(" ".join(str(error).split())) from None


async def _up(supervisor: Any, data: Path) -> None:
    announcing = asyncio.create_task(_announce(data), name="announce")
    try:
        await supervisor.run()
    finally:
        announcing.cancel()


async def _announce(data: Path) -> None:
    """Prints the addresses once every part serves."""
    from console import control
    from mesh.addresses import MeshFile

    while True:
        mesh = MeshFile.read(data)
        states = await control.health(mesh) if mesh else []
        if states and all(status.state == control.SERVING for status in states):
            _print_parts(data, states)
            _say("Ctrl-C ends it. In another terminal: ensemble order")
            return
        await asyncio.sleep(0.2)


def _say(line: str) -> None:
    print(line, flush=True)


def _print_parts(data: Path, states: list[Any]) -> None:
    from mesh.addresses import MeshFile

    mesh = MeshFile.read(data)
    _say(f"mesh in {data}")
    for status in states:
        _say(f"  {status.part.name:<14} {status.part.address:<22} pid {status.part.pid:<8} {status.state}")
    if mesh is not None:
        _say(f"  {'nats-server':<14} {mesh.nats_url:<22} {f'pid {mesh.nats_pid}' if mesh.nats_pid else 'elsewhere'}")


@main.command()
@data_option
@json_option
def status(data: Path, as_json: bool) -> None:
    """Show the parts of a running mesh; exit 1 where one does not serve."""
    from console import control

    data = data.resolve()
    try:
        mesh = control.running(data)
        states = asyncio.run(control.health(mesh))
    except (control.NotRunning, UnknownAddress) as error:
        raise Failed(str(error)) from None
    if as_json:
        parts = [{**vars(one.part), "state": one.state} for one in states]
        print(json.dumps({"parts": parts, "nats": {"url": mesh.nats_url, "pid": mesh.nats_pid}}))
    else:
        _print_parts(data, states)
    sys.exit(0 if all(one.state == control.SERVING for one in states) else 1)


@main.command()
@data_option
def down(data: Path) -> None:
    """End a mesh that runs in the background, in order."""
    from console import control

    try:
        control.down(data.resolve())
    except (control.NotRunning, TimeoutError, UnknownAddress) as error:
        raise Failed(str(error)) from None
    _say("the mesh has ended")


@main.group(invoke_without_command=True)
@data_option
@click.option("--style", type=click.Choice(STYLES), default="hybrid", show_default=True, help="Who drives the order.")
@click.option("--sku", default=None, help="The article; by default teapots, which are put in stock at the first order.")
@click.option("--quantity", type=click.IntRange(1, 1_000_000), default=1, show_default=True)
@click.option("--token", default="tok_visa", show_default=True, help="tok_visa, tok_declined, tok_insufficient_funds.")
@click.option("--country", default="DE", show_default=True, help="ISO 3166-1 alpha-2; AQ has no carrier.")
@click.option("--count", type=click.IntRange(1, 100_000), default=1, show_default=True, help="How many orders.")
@click.option("--at-once", type=click.IntRange(1, 500), default=50, show_default=True, help="How many at a time.")
@json_option
@click.pass_context
def order(ctx: click.Context, /, data: Path, as_json: bool, count: int, at_once: int, **what: Any) -> None:
    """Place orders and show each one's steps live until it ends."""
    if ctx.invoked_subcommand is not None:
        return
    run(lambda: _order(data, as_json, count, at_once, what))


async def _order(data: Path, as_json: bool, count: int, at_once: int, what: dict[str, Any]) -> None:
    from console import display, orders
    from console.client import MeshClient

    style, sku = what["style"].upper(), what["sku"] or orders.DEFAULT_SKU
    async with MeshClient(settings_for(data)) as mesh:
        if what["sku"] is None and await orders.stock_default(mesh) and not as_json:
            _say(f"{orders.DEFAULT_STOCK} {sku}s are put in stock")
        places = asyncio.Semaphore(at_once)

        async def one(changed: orders.Changed) -> None:
            async with places:
                placed = orders.an_order(
                    sku=sku, token=what["token"], country=what["country"], quantity=what["quantity"]
                )
                followed = await orders.place_and_follow(mesh, placed, style, changed)
                if as_json:
                    print(json.dumps(followed.to_json()), flush=True)

        if as_json:
            await asyncio.gather(*(one(lambda _: None) for _ in range(count)))
        else:
            with display.following(count) as changed:
                await asyncio.gather(*(one(changed) for _ in range(count)))


@order.command("cancel")
@data_option
@click.argument("order_id")
def order_cancel(data: Path, order_id: str) -> None:
    """Cancel an order; fails where it is confirmed already."""
    from console import orders
    from console.client import MeshClient

    async def go() -> None:
        async with MeshClient(settings_for(data)) as mesh:
            await orders.cancel(mesh, order_id)

    run(go)
    _say(f"order {order_id} is cancelled; what was done for it is being reversed")


@main.command()
@data_option
@click.argument("sku")
@click.option("--set", "on_hand", type=click.IntRange(0, 1_000_000_000), help="Put so many pieces on hand.")
@json_option
def stock(data: Path, sku: str, on_hand: int | None, as_json: bool) -> None:
    """Show, or set, what lies in stock of an article."""
    from console.client import MeshClient
    from console.orders import READ_TIMEOUT_S
    from shop.inventory.v1.inventory_pb2 import GetStockRequest, SetStockRequest, Stock

    async def go() -> Stock:
        async with MeshClient(settings_for(data)) as mesh:
            if on_hand is None:
                return (await mesh.inventory.GetStock(GetStockRequest(sku=sku), timeout=READ_TIMEOUT_S)).stock
            request = SetStockRequest(sku=sku, on_hand=on_hand)
            return (await mesh.inventory.SetStock(request, timeout=READ_TIMEOUT_S)).stock

    found = run(go)
    if as_json:
        print(json.dumps({"sku": found.sku, "on_hand": found.on_hand, "reserved": found.reserved}))
    else:
        _say(f"{found.sku}: {found.on_hand} on hand, {found.reserved} reserved")


@main.group()
def saga() -> None:
    """Look at sagas, and take a hand in them."""


@saga.command("list")
@data_option
@json_option
@click.option("--status", "status_", default="", help="RUNNING, COMPENSATING, COMPLETED, COMPENSATED or STALLED.")
@click.option("--process", default="", help="Only this process.")
@click.option("--style", type=click.Choice(STYLES[:2]), default=None, help="Only this style.")
@click.option("--page", default="", help="The token that the page before ended with.")
def saga_list(data: Path, as_json: bool, status_: str, process: str, style: str | None, page: str) -> None:
    """List sagas, newest first."""
    from console import sagas
    from console.client import MeshClient
    from ensemble.orchestrator.v1 import orchestrator_pb2 as api

    names = [name.removeprefix("SAGA_STATUS_") for name in api.SagaStatus.keys()][1:]  # noqa: SIM118  # no mapping
    if status_ and status_.upper() not in names:
        raise click.UsageError(f"--status takes one of {', '.join(names)}")
    request = api.ListSagasRequest(
        status=api.SagaStatus.Value(f"SAGA_STATUS_{status_.upper() or 'UNSPECIFIED'}"),
        process=process,
        style=api.Style.Value(f"STYLE_{(style or 'unspecified').upper()}"),
        page_token=page,
    )

    async def go() -> None:
        async with MeshClient(settings_for(data)) as mesh:
            await sagas.list_sagas(mesh, request, as_json=as_json)

    run(go)


@saga.command("watch")
@data_option
@json_option
@click.argument("saga_id")
def saga_watch(data: Path, as_json: bool, saga_id: str) -> None:
    """Show a saga whenever it changes, until it has ended."""
    from console import sagas
    from console.client import MeshClient

    async def go() -> None:
        async with MeshClient(settings_for(data)) as mesh:
            await sagas.watch(mesh, saga_id, as_json=as_json)

    run(go)


def _saga_action(name: str, text: str) -> None:
    @saga.command(name, help=text)
    @data_option
    @json_option
    @click.argument("saga_id")
    def action(data: Path, as_json: bool, saga_id: str) -> None:
        from console import sagas
        from console.client import MeshClient

        async def go() -> None:
            async with MeshClient(settings_for(data)) as mesh:
                sagas.show(await sagas.act(mesh, name, saga_id), as_json=as_json)

        run(go)


_saga_action("get", "Show one saga with its steps.")
_saga_action("cancel", "Ask for the no-go side; the pivot decides whether it comes in time.")
_saga_action("retry", "Set a stalled saga going again.")
_saga_action("hand-over", "Give a running saga to choreography.")
_saga_action("adopt", "Let the orchestrator drive a choreographed saga.")


@main.command()
@click.option(
    "--format", "format_", type=click.Choice(["text", "mermaid", "dot", "json"]), default="text", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def graph(format_: str, as_json: bool) -> None:
    """Draw the choreography from the contracts."""
    from console.graph import FORMATS
    from mesh.contract import Contract, ContractError
    from mesh.registry import UnknownName

    try:
        contract = Contract.of_packages(*settings_for(Path()).contract_packages)
    except (ContractError, UnknownName, ValueError) as error:
        raise Failed(" ".join(str(error).split())) from None
    print(FORMATS["json" if as_json else format_](contract))


@main.command()
@data_option
@json_option
def audit(data: Path, as_json: bool) -> None:
    """Check the books of all services; exit 1 on a fault. What is in flight is listed apart, not judged."""
    from console import audit as books_of
    from console import display

    try:
        books = books_of.audit(data)
    except books_of.NoBooks as error:
        raise Failed(str(error)) from None
    if as_json:
        print(json.dumps(books.to_json()))
    else:
        display.show_books(books)
    sys.exit(1 if books.faults else 0)


if __name__ == "__main__":
    main()
