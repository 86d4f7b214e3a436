"""Who has to know whom, from the contracts alone.

A part knows another one where it calls its methods, or where it reacts to its events: it has to be changed, and started
again, when these change. Those who observe from outside do so in either style, and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.contract import Contract, Process, service_name

ORCHESTRATOR = "orchestrator"


@dataclass(frozen=True)
class Coupling:
    """One style's."""

    knows: dict[str, tuple[str, ...]]  # each part, and the others that it knows

    @property
    def edges(self) -> int:
        """How many pairs there are."""
        return sum(len(others) for others in self.knows.values())

    @property
    def widest(self) -> str:
        """The part that knows most others."""
        return max(self.knows, key=lambda part: (len(self.knows[part]), part))

    def to_json(self) -> dict[str, object]:
        """As `--json` prints it."""
        return {"edges": self.edges, "widest": self.widest, "knows": {part: list(o) for part, o in self.knows.items()}}


def orchestrated(process: Process) -> Coupling:
    """The orchestrator knows all participants; of these only the one that asks it to start knows anybody, it."""
    services = sorted({service_name(method.service) for method in process.methods})
    return Coupling({ORCHESTRATOR: tuple(services), **dict.fromkeys(services, ()), _starter(process): (ORCHESTRATOR,)})


def choreographed(contract: Contract, process: Process) -> Coupling:
    """Each participant knows those whose events it reacts to."""
    knows: dict[str, set[str]] = {}
    for method in process.methods:
        service = service_name(method.service)
        emitters = {service_name(source.service) for event in method.on for source in contract.sources_of(event)}
        if process.start.full_name in method.on:
            emitters.add(_starter(process))
        knows.setdefault(service, set()).update(emitters - {service})
    return Coupling({service: tuple(sorted(others)) for service, others in sorted(knows.items())})


def _starter(process: Process) -> str:
    """Whose the starting event is, by its package."""
    return service_name(process.start.full_name)


def both(one: Coupling, other: Coupling) -> Coupling:
    """Of a mesh in which either style may finish what the other began."""
    parts = sorted({*one.knows, *other.knows})
    return Coupling({part: tuple(sorted({*one.knows.get(part, ()), *other.knows.get(part, ())})) for part in parts})


def joining(process: Process) -> tuple[str, ...]:
    """Whose contracts name a step before the pivot, and change with it: those of the methods that join such steps."""
    return tuple(sorted({service_name(method.service) for method in process.methods if method.join_all}))
