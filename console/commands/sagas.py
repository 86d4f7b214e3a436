"""`ensemble saga …`."""

from __future__ import annotations

from pathlib import Path

import click

from console.commands.common import STYLES, data_option, json_option, run, settings_for


@click.group()
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
