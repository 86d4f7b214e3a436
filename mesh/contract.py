"""Reads a contract: each method's part in its process, from the coordination options of its descriptor.

This is the only place that touches the raw options. Everything else (subscriptions, routing, joins, the no-go
side of an orchestrated saga, the map of the choreography) asks a `Contract`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from ensemble.coordination.v1 import coordination_pb2 as options
from mesh import identity, registry


class ContractError(ValueError):
    """A contract says something that cannot be; the text names the place and the mend."""


@dataclass(frozen=True)
class EventType:
    """An event, and what it means to its process."""

    descriptor: Descriptor
    starts: str
    outcome: options.Outcome.ValueType
    public: bool
    deadline_s: float | None

    @property
    def full_name(self) -> str:
        """Full name of the event's message, e.g. shop.orders.v1.OrderPlaced."""
        return self.descriptor.full_name

    @cached_property
    def message_class(self) -> type[Message]:
        """The event's generated class."""
        return registry.message_class(self.full_name)


@dataclass(frozen=True)
class Method:
    """A method and its part in a process. Names of events and methods are full names; empty means none."""

    descriptor: MethodDescriptor
    participates: bool
    on: tuple[str, ...]
    join_all: bool
    emits: str
    refuses: str
    compensates: str
    pivot: bool
    aborts: str
    observes: tuple[str, ...]
    timeout_s: float | None

    @property
    def full_name(self) -> str:
        """E.g. shop.inventory.v1.InventoryService.ReserveStock."""
        return self.descriptor.full_name

    @property
    def name(self) -> str:
        """E.g. ReserveStock."""
        return self.descriptor.name

    @property
    def service(self) -> str:
        """Full name of the service."""
        return self.descriptor.containing_service.full_name

    @property
    def path(self) -> str:
        """The gRPC path, e.g. /shop.inventory.v1.InventoryService/ReserveStock."""
        return f"/{self.service}/{self.name}"

    @cached_property
    def request_class(self) -> type[Message]:
        """The request's generated class."""
        return registry.message_class(self.descriptor.input_type.full_name)

    @cached_property
    def response_class(self) -> type[Message]:
        """The response's generated class."""
        return registry.message_class(self.descriptor.output_type.full_name)

    @property
    def triggers(self) -> tuple[str, ...]:
        """Every event that triggers the method, inside its saga or as an observer."""
        return self.on + self.observes


@dataclass(frozen=True)
class Process:
    """What follows from one starting event, along `on` and `emits` or `refuses`."""

    name: str
    start: EventType
    methods: tuple[Method, ...]

    @property
    def pivot(self) -> Method | None:
        """The method that decides, where the process has one."""
        return next((method for method in self.methods if method.pivot), None)

    @property
    def aborting(self) -> Method | None:
        """The pivot's other side, where the process has one."""
        return next((method for method in self.methods if method.aborts), None)


class Contract:
    """The contracts of some services, read together."""

    def __init__(self, services: Iterable[ServiceDescriptor], events: Iterable[Descriptor] = ()) -> None:
        """`events` are further events, which no method names: those that only workflows start with, or wait for."""
        self.services = tuple(services)
        self.methods = {
            method.full_name: _read_method(method) for service in self.services for method in service.methods
        }
        self.by_path = {method.path: method for method in self.methods.values()}
        names = {name for method in self.methods.values() for name in (*method.triggers, method.emits, method.refuses)}
        named = {name: registry.message_descriptor(name) for name in names - {""}}
        further = {event.full_name: event for event in events}
        self.events = {name: read_event(event) for name, event in sorted({**further, **named}.items())}

    @classmethod
    def of_packages(cls, *packages: str) -> Contract:
        """The contracts of all services and events in these generated packages, e.g. "shop"."""
        messages = registry.message_descriptors(*packages)
        marked = [message for message in messages if message.GetOptions().HasExtension(options.event)]
        return cls(registry.service_descriptors(*packages), marked)

    def triggered_by(self, event: str) -> list[Method]:
        """The methods that an event triggers inside its saga."""
        return [method for method in self.methods.values() if event in method.on]

    def observing(self, event: str) -> list[Method]:
        """The methods that observe an event from outside its saga."""
        return [method for method in self.methods.values() if event in method.observes]

    def sources_of(self, event: str) -> list[Method]:
        """The methods that emit an event, on success or on refusal."""
        return [method for method in self.methods.values() if event and event in (method.emits, method.refuses)]

    @cached_property
    def processes(self) -> dict[str, Process]:
        """The processes that the events of these contracts start, by name."""
        starting = [event for event in self.events.values() if event.starts]
        return {event.starts: Process(event.starts, event, tuple(self._following(event))) for event in starting}

    def compensation_of(self, method: Method) -> Method | None:
        """The method that reverses another."""
        return next((other for other in self.methods.values() if other.compensates == method.full_name), None)

    def process_of(self, method: Method) -> Process | None:
        """The process that a method takes part in."""
        return next((process for process in self.processes.values() if method in process.methods), None)

    def _following(self, start: EventType) -> Iterator[Method]:
        reached: set[str] = set()
        waiting = [start.full_name]
        while waiting:
            for method in self.triggered_by(waiting.pop(0)):
                if method.full_name not in reached:
                    reached.add(method.full_name)
                    waiting += [event for event in (method.emits, method.refuses) if event]
                    yield method


def _read_method(descriptor: MethodDescriptor) -> Method:
    raw = descriptor.GetOptions().Extensions[options.participation]
    participates = descriptor.GetOptions().HasExtension(options.participation)
    service = descriptor.containing_service
    if participates:
        identity.saga_id_path(descriptor.input_type)
    if raw.join == options.JOIN_ALL and identity.step_key_paths(descriptor.input_type):
        raise ContractError(
            f"{descriptor.full_name}: a JOIN_ALL joins once a saga, but its request "
            "has a step_key; take one of them out"
        )
    return Method(
        descriptor=descriptor,
        participates=participates,
        on=tuple(raw.on),
        join_all=raw.join == options.JOIN_ALL,
        emits=raw.emits,
        refuses=raw.refuses,
        compensates=_sibling(service, descriptor, raw.compensates),
        pivot=raw.pivot,
        aborts=_sibling(service, descriptor, raw.aborts),
        observes=tuple(raw.observes),
        timeout_s=_seconds(raw.timeout) if raw.HasField("timeout") else None,
    )


def _sibling(service: ServiceDescriptor, method: MethodDescriptor, name: str) -> str:
    if name and name not in service.methods_by_name:
        raise ContractError(f"{method.full_name}: {service.full_name} has no method {name!r}; name one of its methods")
    return service.methods_by_name[name].full_name if name else ""


def read_event(descriptor: Descriptor) -> EventType:
    """Reads a message as an event; raises ContractError where it is none."""
    if not descriptor.GetOptions().HasExtension(options.event):
        raise ContractError(
            f"{descriptor.full_name} is used as an event but not marked as one: "
            "add `option (ensemble.coordination.v1.event) = {};`"
        )
    identity.saga_id_path(descriptor)
    raw = descriptor.GetOptions().Extensions[options.event]
    deadline_s = _seconds(raw.deadline) if raw.HasField("deadline") else None
    return EventType(descriptor, raw.starts, raw.outcome, raw.public, deadline_s)


def _seconds(duration: object) -> float:
    return duration.ToTimedelta().total_seconds()  # type: ignore[attr-defined,no-any-return]  # well-known type mixin


def service_name(service: str | ServiceDescriptor) -> str:
    """A service's name in the mesh: the part of its package before the version.

    shop.inventory.v1.InventoryService is `inventory`. It names the process, the durable consumer and the address,
    so it has to be unique in the mesh.
    """
    full_name = service if isinstance(service, str) else service.full_name
    parts = full_name.split(".")
    if len(parts) < 3:
        raise ContractError(f"{full_name}: a service lies in a package like shop.inventory.v1")
    return parts[-3].replace("_", "-")
