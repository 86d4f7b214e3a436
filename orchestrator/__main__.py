"""The orchestrator as a process: `python -m orchestrator`. Settings come from ENSEMBLE_* (mesh.settings).

Order of the end, on SIGTERM: health says NOT_SERVING and calls under way finish, the sagas are let go of, what is known
of them is committed, and the lease is given up, so that another orchestrator runs them on at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging

from ensemble.orchestrator.v1 import orchestrator_pb2
from eventbus.bus import EventBus
from eventbus.consumer import Consumer
from eventbus.dead_letter_reader import DeadLetterReader
from mesh import lifecycle
from mesh.addresses import Addresses
from mesh.backoff import Backoff
from mesh.changes import Changes
from mesh.contract import Contract
from mesh.errors import Unavailable
from mesh.lifecycle import Lifecycle
from mesh.outside import REAL, Outside
from mesh.server import Server, bind
from mesh.settings import Settings
from orchestrator import tracker
from orchestrator.api import OrchestratorService
from orchestrator.engine import Engine
from orchestrator.engine_port import Asks
from orchestrator.ledgers import RemoteLedgers
from orchestrator.migrations import JOURNAL
from orchestrator.participants import Participants
from orchestrator.picture import Picture
from orchestrator.pruning import Pruning
from orchestrator.stalled import Stalled
from orchestrator.tracker import Tracker
from orchestrator.watching import Watching
from orchestrator.workflow import registered

log = logging.getLogger(__name__)

NAME = "orchestrator"
TRACKER = "tracker"


async def host(settings: Settings, life: Lifecycle, asks: Asks | None = None, outside: Outside = REAL) -> None:
    """Serves the orchestrator until the process is asked to stop.

    `asks` stands in for the real participants; `outside` is what the process reaches beyond itself.
    """
    database = outside.database(settings, NAME, JOURNAL)
    addresses = Addresses(settings, outside)
    contract = Contract.of_packages(*settings.contract_packages)
    changes = Changes()
    bus = EventBus(addresses.nats_url(), NAME, outside.broker())
    participants = Participants(
        addresses,
        settings.call_timeout_s,
        retry_ratio=settings.retry_ratio,
        circuit_failures=settings.circuit_failures,
    )
    engine = Engine(
        contract,
        registered(),
        asks or participants,
        database,
        changes,
        sagas_max=settings.sagas_max,
        queue_max=settings.sagas_queued_max,
        alone=not settings.database_url,
    )
    watching = Watching(engine, database, changes)
    pruning = Pruning(contract, RemoteLedgers(addresses, settings.call_timeout_s), database)
    picture = Picture(contract, database, settings.stalled_after_s)
    service = orchestrator_pb2.DESCRIPTOR.services_by_name["OrchestratorService"]
    server = Server(settings.listen, calls_max=settings.calls_max, drain_s=settings.drain_s, outside=outside)
    server.add(service, bind(OrchestratorService(engine, database, watching, picture, bus, pruning), service))
    following = Tracker(contract, database, changes, engine.mail_came)
    consumer = Consumer(bus, TRACKER, tracker.SUBJECTS, following.handle, settings)
    letters = DeadLetterReader(bus, TRACKER, following.read_dead_letter, settings)
    stalled = Stalled(contract, database, changes, engine.driven, following.is_behind, settings.stalled_after_s)
    if count := await _join(engine, life):
        log.info("%d sagas go on", count)
    life.spawn("database", database.watch())
    life.spawn("journal", engine.write_for_ever())
    life.spawn("heartbeat", engine.beat_for_ever())
    life.spawn("claims", engine.claim_for_ever())
    if settings.database_url:  # shared with other orchestrators
        life.spawn("watching", watching.look_for_ever())
    life.spawn("broker", bus.run())
    life.spawn("tracker", consumer.run())
    life.spawn("dead letters", letters.run())
    life.spawn("stalled", stalled.find_for_ever())
    if settings.prune_after_s:
        life.spawn("pruning", pruning.prune_for_ever(settings.prune_after_s))
    await server.start()
    log.info("%s serves on %s", NAME, server.address)
    try:
        await life.stopped()
        log.info("%s stops", NAME)
    finally:
        await server.stop()
        await _end(engine, settings.drain_s)
        await life.end_tasks()
        await participants.close()
        await bus.close()
        await database.close()


async def _join(engine: Engine, life: Lifecycle) -> int:
    """Takes the lease once the journal can be written: a full disk, or a server that is started again, passes."""
    for delay_s in Backoff(max_s=2.0).delays():
        try:
            return await engine.join()
        except Unavailable as error:
            if life.stopping.is_set():
                raise
            log.warning("the journal cannot be written yet: %s", error)
        await asyncio.sleep(delay_s)
    raise AssertionError("delays never end")


async def _end(engine: Engine, within_s: float) -> None:
    await engine.close()
    with contextlib.suppress(TimeoutError, Unavailable):  # where the journal cannot be written, the ledgers know
        async with asyncio.timeout(within_s):
            await engine.flushed()
            await engine.resign()


def main() -> None:
    """The command line."""
    importlib.import_module("orchestrator.workflows")  # registers them
    lifecycle.run_part(NAME, host)


if __name__ == "__main__":
    main()
