"""Whether names mean one thing each.

service-name      a service without a name in the mesh, or with that of another one
starts-twice      two events that start one process
aborts-no-pivot   a method that aborts another one which is no pivot
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from google.protobuf.descriptor import ServiceDescriptor

from mesh.contract import Contract, EventType, service_name
from mesh.contract_faults import ContractError
from mesh.verification.finding import Finding, short


def check_names(contract: Contract) -> Iterator[Finding]:
    """Checks what names name."""
    yield from _check_services(contract)
    yield from _check_starts(contract)
    yield from _check_aborts(contract)


def _check_services(contract: Contract) -> Iterator[Finding]:
    known: dict[str, ServiceDescriptor] = {}
    for service in contract.services:
        if not any(contract.methods[method.full_name].participates for method in service.methods):
            continue
        try:
            name = service_name(service)
        except ContractError as error:
            yield Finding("service-name", service, error.what, error.help)
            continue
        other = known.setdefault(name, service)
        if other is not service:
            what = f"{service.full_name} and {other.full_name} are both named {name!r} in the mesh"
            yield Finding("service-name", service, what, "name its package differently, or make one service of them")


def _check_starts(contract: Contract) -> Iterator[Finding]:
    starting: dict[str, list[EventType]] = defaultdict(list)
    for event in contract.events.values():
        if event.starts:
            starting[event.starts].append(event)
    for name, events in starting.items():
        for event in events[1:]:
            what = f"{short(event.full_name)} and {short(events[0].full_name)} both start {name!r}"
            yield Finding("starts-twice", event.descriptor, what, "give one of them the name of another process")


def _check_aborts(contract: Contract) -> Iterator[Finding]:
    for method in contract.methods.values():
        if method.aborts and not contract.methods[method.aborts].pivot:
            what = f"{method.name} aborts {short(method.aborts)}, which decides nothing"
            yield Finding("aborts-no-pivot", method.descriptor, what, "let it name the method with `pivot: true`")
