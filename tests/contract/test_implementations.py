"""Every method that a contract promises is written, in the class that its service is registered with."""

from __future__ import annotations

import importlib
import re

import pytest
from google.protobuf.descriptor import ServiceDescriptor

from ensemble.orchestrator.v1 import orchestrator_pb2
from mesh.contract import service_name
from mesh.registry import service_descriptors
from orchestrator.api import OrchestratorService
from services import SERVICES

SHOP = {service.full_name: service for service in service_descriptors("shop")}
ORCHESTRATOR = orchestrator_pb2.DESCRIPTOR.services_by_name["OrchestratorService"]


def registered(name: str) -> type[object]:
    """The servicer class of a name in the registry."""
    module, _, class_name = SERVICES[name].partition(":")
    found: type[object] = getattr(importlib.import_module(module), class_name)
    return found


def base_of(service: ServiceDescriptor) -> type[object]:
    """The generated class that a servicer has to subclass."""
    module = service.file.name.removesuffix(".proto").replace("/", ".") + "_pb2_grpc"
    found: type[object] = getattr(importlib.import_module(module), f"{service.name}Servicer")
    return found


def service_of(servicer: type[object]) -> ServiceDescriptor:
    """The service whose generated class a servicer subclasses."""
    (found,) = (service for service in SHOP.values() if issubclass(servicer, base_of(service)))
    return found


def unwritten(servicer: type[object], service: ServiceDescriptor) -> list[str]:
    base = base_of(service)
    return [method.name for method in service.methods if getattr(servicer, method.name) is getattr(base, method.name)]


@pytest.mark.parametrize("name", SERVICES)
def test_every_method_of_a_service_is_written(name: str) -> None:
    servicer = registered(name)
    assert unwritten(servicer, service_of(servicer)) == []


def test_every_method_of_the_orchestrator_is_written() -> None:
    assert issubclass(OrchestratorService, base_of(ORCHESTRATOR))
    assert unwritten(OrchestratorService, ORCHESTRATOR) == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_registered_by_its_name_in_the_mesh(name: str) -> None:
    assert service_name(service_of(registered(name))) == name


def test_every_service_of_the_shop_is_registered_once() -> None:
    assert sorted(service_of(registered(name)).full_name for name in SERVICES) == sorted(SHOP)


def test_names_of_services_are_unique_and_can_name_a_consumer() -> None:
    names = [service_name(service) for service in (*SHOP.values(), ORCHESTRATOR)]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"[a-z0-9-]+", name)] == []
    assert "tracker" not in names  # the tracker's consumer has that name
