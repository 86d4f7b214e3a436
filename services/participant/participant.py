"""A servicer, made a participant: the parts of this folder put together, on one database and one publisher."""

from __future__ import annotations

import importlib

import sqlalchemy as sql
from google.protobuf.descriptor import ServiceDescriptor

from mesh.contract import Contract, service_name
from mesh.contract_faults import ContractError
from mesh.database import Database
from services.participant.endpoint import Endpoint, handlers_of
from services.participant.joins import Joins, arrivals_table
from services.participant.ledger import Ledger, ledger_table
from services.participant.outbox import Outbox, Publisher
from services.participant.reactor import Reactor
from services.participant.steps import Steps

METADATA = sql.MetaData()
LEDGER = ledger_table(METADATA)
ARRIVALS = arrivals_table(METADATA)


class Participant:
    """One service on both transports. Knows neither server nor broker: those are given its endpoint and reactor."""

    def __init__(self, servicer: object, database: Database, publisher: Publisher) -> None:
        self.service = service_of(type(servicer))
        self.name = service_name(self.service)
        self.contract = Contract([self.service])
        self.ledger = Ledger(LEDGER, ARRIVALS)
        handlers = handlers_of(servicer, self.contract)
        joins = Joins(ARRIVALS, self.contract)
        domain = self.service.full_name.rpartition(".")[0]
        self.steps = Steps(self.name, domain, self.contract, self.ledger, joins)
        self.outbox = Outbox(database, self.ledger, self.steps, publisher)
        self.endpoint = Endpoint(servicer, self.contract, handlers, self.steps, database, self.outbox)
        self.reactor = Reactor(self.contract, handlers, self.steps, database, self.outbox)


def service_of(servicer: type[object]) -> ServiceDescriptor:
    """The service that a servicer class implements, by the generated class that it subclasses."""
    for base in servicer.__mro__:
        if base.__module__.endswith("_pb2_grpc") and base.__name__.endswith("Servicer"):
            messages = importlib.import_module(base.__module__.removesuffix("_grpc"))
            service: ServiceDescriptor = messages.DESCRIPTOR.services_by_name[base.__name__.removesuffix("Servicer")]
            return service
    what = f"{servicer.__name__} implements no service"
    raise ContractError(what, "let it subclass a generated servicer, e.g. InventoryServiceServicer")
