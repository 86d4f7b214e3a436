"""`ensemble order`, `stock`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from console.commands.common import STYLES, data_option, json_option, run, say, settings_for


@click.group(invoke_without_command=True)
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
            say(f"{orders.DEFAULT_STOCK} {sku}s are put in stock")
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
    say(f"order {order_id} is cancelled; what was done for it is being reversed")


@click.command()
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
        say(f"{found.sku}: {found.on_hand} on hand, {found.reserved} reserved")
