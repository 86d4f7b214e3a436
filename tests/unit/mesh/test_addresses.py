"""Where the parts of a mesh are, with and without replicas."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.addresses import Addresses, MeshFile, Part, UnknownAddress
from mesh.settings import Settings


@pytest.fixture
def addresses(tmp_path: Path) -> Addresses:
    parts = [
        Part("orders", "orders", 1, "127.0.0.1:1001"),
        Part("inventory", "inventory", 2, "127.0.0.1:1002"),
        Part("inventory-2", "inventory", 3, "127.0.0.1:1003"),
    ]
    MeshFile(7, "nats://127.0.0.1:4222", 8, parts).write(tmp_path)
    return Addresses(Settings(data=tmp_path, addresses={"shipping": "dns:///shipping:50051"}))


def test_a_part_alone_is_at_its_address(addresses: Addresses) -> None:
    assert addresses.of("orders") == "127.0.0.1:1001"


def test_replicas_are_one_target(addresses: Addresses) -> None:
    assert addresses.of("inventory") == "ipv4:127.0.0.1:1002,127.0.0.1:1003"


def test_settings_come_first(addresses: Addresses) -> None:
    assert addresses.of("shipping") == "dns:///shipping:50051"


def test_the_name_of_a_replica_is_no_address(addresses: Addresses) -> None:
    with pytest.raises(UnknownAddress):
        addresses.of("inventory-2")
