"""Where the services and the broker of this mesh are.

Settings come first (a mesh that runs elsewhere); then the file that `ensemble up` keeps in the data folder.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio

from mesh.channel import connect
from mesh.outside import REAL, Outside
from mesh.settings import Settings

FILE_NAME = "mesh.json"
BROKER = "nats-server"  # its name among the parts


class UnknownAddress(LookupError):
    """Nobody knows where a part of the mesh is."""


@dataclass
class Part:
    """One process of a mesh on this machine."""

    name: str  # "inventory"; of a second replica "inventory-2"
    service: str  # which part of the mesh it is, whichever replica
    pid: int
    address: str


@dataclass
class MeshFile:
    """What `ensemble up` writes down for all the others."""

    supervisor_pid: int
    nats_url: str
    nats_pid: int
    parts: list[Part] = field(default_factory=list)

    def write(self, data: Path) -> None:
        """Replaces the file at once, so that a reader never sees half of it."""
        fresh = data / f".{FILE_NAME}.new"
        fresh.write_text(json.dumps(asdict(self), indent=2) + "\n")
        fresh.replace(data / FILE_NAME)

    @classmethod
    def read(cls, data: Path) -> MeshFile | None:
        """The file of a data folder; None where no mesh was started in it."""
        try:
            raw: dict[str, Any] = json.loads((data / FILE_NAME).read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise UnknownAddress(f"{data / FILE_NAME} cannot be read ({error}); run `ensemble up` again") from None
        return cls(**{**raw, "parts": [Part(**part) for part in raw["parts"]]})

    def pid_of(self, name: str) -> int:
        """The pid of a part, or of nats-server; raises UnknownAddress."""
        return self.nats_pid if name == BROKER else self._part(name).pid

    def address_of(self, name: str) -> str:
        """Where a part serves gRPC; raises UnknownAddress."""
        return self._part(name).address

    def _part(self, name: str) -> Part:
        for part in self.parts:
            if part.name == name:
                return part
        raise UnknownAddress(
            f"there is no part {name!r} in this mesh, which has {', '.join(p.name for p in self.parts)}"
        )


class Addresses:
    """Finds the parts of one mesh. Reads the file anew where it must, as parts may move."""

    def __init__(self, settings: Settings, outside: Outside = REAL) -> None:
        self._settings = settings
        self._outside = outside

    def channel(self, name: str) -> grpc.aio.Channel:
        """A channel to a service, or to the orchestrator, by its name; raises UnknownAddress."""
        return connect(self.of(name), self._outside)

    def of(self, name: str) -> str:
        """The gRPC target of a service, or of the orchestrator, over all its replicas; raises UnknownAddress."""
        if address := self._settings.addresses.get(name):
            return address
        mesh = MeshFile.read(self._settings.data)
        replicas = [part.address for part in mesh.parts if part.service == name] if mesh else []
        if not replicas:
            raise UnknownAddress(
                f"nobody knows where {name!r} is: start a mesh with `ensemble up --data {self._settings.data}`, "
                f'or set ENSEMBLE_ADDRESSES=\'{{"{name}": "HOST:PORT"}}\''
            )
        return replicas[0] if len(replicas) == 1 else f"ipv4:{','.join(replicas)}"

    def nats_url(self) -> str:
        """The broker's URL; raises UnknownAddress."""
        if self._settings.nats_url:
            return self._settings.nats_url
        if (mesh := MeshFile.read(self._settings.data)) is not None:
            return mesh.nats_url
        raise UnknownAddress(
            f"nobody knows where the broker is: start a mesh with `ensemble up --data {self._settings.data}`, "
            "or set ENSEMBLE_NATS_URL"
        )
