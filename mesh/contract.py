"""Reads a contract: each method's part in its process, from the coordination options of its descriptor.

This is the only place that touches the raw options. Everything else (subscriptions, routing, joins, the no-go
side of an orchestrated saga, the map of the choreography) asks a `Contract`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from ensemble.coordination.v1 import coordination_pb2 as options
from mesh import identity, registry
from mesh.contract_faults import ContractError, KeyedJoin, NotAnEvent, Report, UnknownSibling, refuse


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
        return message_factory.GetMessageClass(self.descriptor)


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
    def label(self) -> str:
        """As people name it, e.g. inventory.ReserveStock."""
        return f"{service_name(self.service)}.{self.name}"

    @property
    def path(self) -> str:
        """The gRPC path, e.g. /shop.inventory.v1.InventoryService/ReserveStock."""
        return f"/{self.service}/{self.name}"

    @cached_property
    def request_class(self) -> type[Message]:
        """The request's generated class."""
        return message_factory.GetMessageClass(self.descriptor.input_type)

    @cached_property
    def response_class(self) -> type[Message]:
        """The response's generated class."""
        return message_factory.GetMessageClass(self.descriptor.output_type)

    @property
    def triggers(self) -> tuple[str, ...]:
        """Every event that triggers the method, inside its saga or as an observer."""
        return self.on + self.observes

    @property
    def names_of_events(self) -> tuple[str, ...]:
        """Every event that the method names."""
        return tuple(name for name in (*self.triggers, self.emits, self.refuses) if name)


@dataclass(frozen=True)
class Process:
    """What follows from one starting event, along `on` and `emits` or `refuses`."""

    name: str
    start: EventType
    methods: tuple[Method, ...]

    @cached_property
    def pivot(self) -> Method | None:
        """The method that decides, where the process has one."""
        return next((method for method in self.methods if method.pivot), None)

    @cached_property
    def aborting(self) -> Method | None:
        """The pivot's other side, where the process has one."""
        return next((method for method in self.methods if method.aborts), None)


class Contract:
    """The contracts of some services, read together."""

    def __init__(
        self,
        services: Iterable[ServiceDescriptor],
        events: Iterable[Descriptor] = (),
        *,
        find: Callable[[str], Descriptor] = registry.message_descriptor,
        report: Report = refuse,
    ) -> None:
        """`events` are further events, which no method names: those that only workflows start with, or wait for.

        `find` finds the messages that methods name, and raises UnknownName; `report` is told of faults: ContractError,
        UnknownName, NoSagaId. The default raises the first one.
        """
        self.services = tuple(services)
        self.methods = {
            method.full_name: _read_method(method, report) for service in self.services for method in service.methods
        }
        self.by_path = {method.path: method for method in self.methods.values()}
        found = {event.full_name: event for event in events}
        for method in self.methods.values():
            for name in method.names_of_events:
                if name not in found:
                    try:
                        found[name] = find(name)
                    except registry.UnknownName as error:
                        report(method.descriptor, error)
        self.events = {name: read_event(event, report) for name, event in sorted(found.items())}

    @classmethod
    def of_packages(cls, *packages: str, report: Report = refuse) -> Contract:
        """The contracts of all services and events in these generated packages, e.g. "shop"."""
        messages = registry.message_descriptors(*packages)
        return cls(registry.service_descriptors(*packages), filter(is_event, messages), report=report)

    def triggered_by(self, event: str) -> list[Method]:
        """The methods that an event triggers inside its saga."""
        return self._by_event["on"].get(event, [])

    def observing(self, event: str) -> list[Method]:
        """The methods that observe an event from outside its saga."""
        return self._by_event["observes"].get(event, [])

    def sources_of(self, event: str) -> list[Method]:
        """The methods that emit an event, on success or on refusal."""
        return self._by_event["sources"].get(event, [])

    def aborting(self, pivot: Method) -> list[Method]:
        """The methods that are the other side of a pivot."""
        return self._aborting.get(pivot.full_name, [])

    @cached_property
    def _aborting(self) -> dict[str, list[Method]]:
        found: dict[str, list[Method]] = defaultdict(list)
        for method in self.methods.values():
            if method.aborts:
                found[method.aborts].append(method)
        return dict(found)

    @cached_property
    def _by_event(self) -> dict[str, dict[str, list[Method]]]:
        index: dict[str, dict[str, list[Method]]] = {key: defaultdict(list) for key in ("on", "observes", "sources")}
        for method in self.methods.values():
            names = {"on": method.on, "observes": method.observes, "sources": (method.emits, method.refuses)}
            for key, events in names.items():
                for event in dict.fromkeys(events):
                    if event:
                        index[key][event].append(method)
        return {key: dict(events) for key, events in index.items()}

    @cached_property
    def processes(self) -> dict[str, Process]:
        """The processes that the events of these contracts start, by name."""
        starting = [event for event in self.events.values() if event.starts]
        return {
            event.starts: Process(event.starts, event, tuple(self.following(event.full_name))) for event in starting
        }

    def compensation_of(self, method: Method) -> Method | None:
        """The method that reverses another."""
        return self._compensations.get(method.full_name)

    @cached_property
    def _compensations(self) -> dict[str, Method]:
        return {method.compensates: method for method in reversed(self.methods.values()) if method.compensates}

    def process_of(self, method: Method) -> Process | None:
        """The process that a method takes part in."""
        return self._process_by_method.get(method.full_name)

    @cached_property
    def _process_by_method(self) -> dict[str, Process]:
        processes = reversed(self.processes.values())  # of several the first one counts
        return {method.full_name: process for process in processes for method in process.methods}

    def following(self, event: str) -> Iterator[Method]:
        """The methods that may follow from an event, each once, the nearest first."""
        reached: set[str] = set()
        waiting = deque([event])
        while waiting:
            for method in self.triggered_by(waiting.popleft()):
                if method.full_name not in reached:
                    reached.add(method.full_name)
                    waiting += [event for event in (method.emits, method.refuses) if event]
                    yield method


def is_event(message: Descriptor) -> bool:
    """Whether a message is marked as an event."""
    return bool(message.GetOptions().HasExtension(options.event))


def _read_method(descriptor: MethodDescriptor, report: Report) -> Method:
    raw = descriptor.GetOptions().Extensions[options.participation]
    participates = descriptor.GetOptions().HasExtension(options.participation)
    if participates:
        _check_saga_id(descriptor.input_type, report)
    if raw.join == options.JOIN_ALL and identity.step_key_paths(descriptor.input_type):
        what = f"{descriptor.full_name}: a JOIN_ALL joins once a saga, but its request has a step_key"
        report(descriptor, KeyedJoin(what, "take one of them out"))
    return Method(
        descriptor=descriptor,
        participates=participates,
        on=tuple(raw.on),
        join_all=raw.join == options.JOIN_ALL,
        emits=raw.emits,
        refuses=raw.refuses,
        compensates=_sibling(descriptor, raw.compensates, report),
        pivot=raw.pivot,
        aborts=_sibling(descriptor, raw.aborts, report),
        observes=tuple(raw.observes),
        timeout_s=_seconds(raw.timeout) if raw.HasField("timeout") else None,
    )


def _sibling(method: MethodDescriptor, name: str, report: Report) -> str:
    service = method.containing_service
    if name and name not in service.methods_by_name:
        what = f"{method.full_name}: {service.full_name} has no method {name!r}"
        report(method, UnknownSibling(what, "name one of its methods"))
        return ""
    return service.methods_by_name[name].full_name if name else ""


def read_event(descriptor: Descriptor, report: Report = refuse) -> EventType:
    """Reads a message as an event."""
    if not is_event(descriptor):
        what = f"{descriptor.full_name} is used as an event but not marked as one"
        report(descriptor, NotAnEvent(what, "add `option (ensemble.coordination.v1.event) = {};`"))
    _check_saga_id(descriptor, report)
    raw = descriptor.GetOptions().Extensions[options.event]
    deadline_s = _seconds(raw.deadline) if raw.HasField("deadline") else None
    return EventType(descriptor, raw.starts, raw.outcome, raw.public, deadline_s)


def _check_saga_id(message: Descriptor, report: Report) -> None:
    try:
        identity.saga_id_path(message)
    except identity.NoSagaId as error:
        report(message, error)


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
        raise ContractError(f"{full_name} has no name in the mesh", "let it lie in a package like shop.inventory.v1")
    return parts[-3].replace("_", "-")
