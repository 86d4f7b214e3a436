"""`ensemble saga …`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from console.commands.common import STYLES, data_option, json_option, run, settings_for
from console.commands.duration import duration
from mesh.settings import EVENTS_KEPT_S


@click.group()
def saga() -> None:
    """Look at sagas, and take a hand in them."""


@saga.command("list")
@data_option
@json_option
@click.option("--status", "status_", default="", help="RUNNING, COMPENSATING, COMPLETED, COMPENSATED or STALLED.")
@click.option("--process", default="", help="Only this process.")
@click.option("--style", type=click.Choice(STYLES[:2]), default=None, help="Only this style.")
@click.option("--stalled", is_flag=True, help="Only those that do not get on, and what they wait for.")
@click.option("--page", default="", help="The token that the page before ended with.")
def saga_list(
    data: Path, as_json: bool, status_: str, process: str, style: str | None, stalled: bool, page: str
) -> None:
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
        stalled=stalled,
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


@saga.command("prune")
@data_option
@json_option
@click.option("--older-than", callback=duration, required=True, help="E.g. 30d; 7d at least: so long events are kept.")
def saga_prune(data: Path, as_json: bool, older_than: timedelta) -> None:
    """Forget sagas that ended long ago, with what the ledgers know of them. Orders and the like stay."""
    from console import sagas
    from console.client import MeshClient

    if older_than.total_seconds() < EVENTS_KEPT_S:  # the orchestrator refuses it too; so it is told as what it is
        raise click.UsageError("--older-than takes 7d or more: so long the stream keeps the events of a saga")

    async def go() -> None:
        async with MeshClient(settings_for(data)) as mesh:
            await sagas.prune(mesh, older_than, as_json=as_json)

    run(go)


@saga.command("cancel")
@data_option
@json_option
@click.argument("saga_id")
def saga_cancel(data: Path, as_json: bool, saga_id: str) -> None:
    """Ask for the no-go side; the pivot decides whether it comes in time."""
    from console import sagas
    from console.client import MeshClient

    async def go() -> None:
        async with MeshClient(settings_for(data)) as mesh:
            await sagas.cancel(mesh, saga_id, as_json=as_json)

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
_saga_action("retry", "Set a stalled saga going again.")
_saga_action("hand-over", "Give a running saga to choreography.")
_saga_action("adopt", "Let the orchestrator drive a choreographed saga.")
