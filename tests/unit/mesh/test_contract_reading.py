"""A contract is what the options of its descriptors say, and nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ensemble.coordination.v1 import coordination_pb2 as options
from mesh.contract import Contract, Method, Process, service_name
from mesh.contract_faults import ContractError
from mesh.registry import UnknownName, message_descriptor, service_descriptors
from tests.unit.mesh.protofiles import define

TRAVEL = define("""
message Trip { string trip_id = 1 [($options.saga_id) = true]; }
message Empty {}

message TripAsked {
  option ($options.event) = {starts: "travel" deadline: {seconds: 90}};
  Trip trip = 1;
}
message SeatHeld { option ($options.event) = {}; Trip trip = 1; }
message SeatRefused { option ($options.event) = {}; Trip trip = 1; }
message TripBooked { option ($options.event) = {public: true outcome: OUTCOME_COMPLETED}; Trip trip = 1; }
message SeatGiven { option ($options.event) = {outcome: OUTCOME_COMPENSATED}; Trip trip = 1; }

message Request { Trip trip = 1; }

service Travel {
  rpc HoldSeat(Request) returns (Empty) {
    option ($options.participation) = {
      on: "$package.TripAsked" emits: "$package.SeatHeld" refuses: "$package.SeatRefused" timeout: {nanos: 500000000}
    };
  }
  rpc Book(Request) returns (Empty) {
    option ($options.participation) = {
      on: ["$package.SeatHeld", "$package.TripAsked"] join: JOIN_ALL emits: "$package.TripBooked" pivot: true
    };
  }
  rpc CallOff(Request) returns (Empty) {
    option ($options.participation) = {on: "$package.SeatRefused" emits: "$package.SeatGiven" aborts: "Book"};
  }
  rpc GiveSeat(Request) returns (Empty) { option ($options.participation) = {compensates: "HoldSeat"}; }
  rpc Tell(Request) returns (Empty) { option ($options.participation) = {observes: "$package.TripBooked"}; }
  rpc Look(Empty) returns (Empty);
}
""")


@pytest.fixture
def travel() -> Contract:
    return Contract([TRAVEL.service("Travel")])


def full(name: str) -> str:
    return f"{TRAVEL.package}.{name}"


def in_travel(contract: Contract, name: str) -> Method:
    return contract.methods[full(f"Travel.{name}")]


def test_a_method_says_what_triggers_it_and_what_it_emits(travel: Contract) -> None:
    hold = in_travel(travel, "HoldSeat")
    assert (hold.on, hold.emits, hold.refuses) == ((full("TripAsked"),), full("SeatHeld"), full("SeatRefused"))
    assert hold.participates
    assert not hold.join_all
    assert not hold.pivot
    assert hold.timeout_s == 0.5


def test_a_join_and_a_pivot_are_read(travel: Contract) -> None:
    book = in_travel(travel, "Book")
    assert book.join_all
    assert book.pivot
    assert book.timeout_s is None


def test_methods_of_the_same_service_are_named_in_full(travel: Contract) -> None:
    assert in_travel(travel, "CallOff").aborts == full("Travel.Book")
    assert in_travel(travel, "GiveSeat").compensates == full("Travel.HoldSeat")


def test_an_observer_is_triggered_but_takes_no_part_in_the_process(travel: Contract) -> None:
    tell = in_travel(travel, "Tell")
    assert (tell.on, tell.observes, tell.triggers) == ((), (full("TripBooked"),), (full("TripBooked"),))
    assert travel.observing(full("TripBooked")) == [tell]
    assert travel.triggered_by(full("TripBooked")) == []
    assert travel.process_of(tell) is None


def test_a_method_without_the_option_takes_no_part(travel: Contract) -> None:
    assert not in_travel(travel, "Look").participates


def test_names_paths_and_classes_come_from_the_descriptor(travel: Contract) -> None:
    hold = in_travel(travel, "HoldSeat")
    assert (hold.name, hold.service) == ("HoldSeat", full("Travel"))
    assert hold.path == f"/{full('Travel')}/HoldSeat"
    assert travel.by_path[hold.path] is hold
    assert hold.request_class is TRAVEL.message("Request")
    assert hold.response_class is TRAVEL.message("Empty")


def test_events_say_what_they_mean_to_their_process(travel: Contract) -> None:
    asked, booked = travel.events[full("TripAsked")], travel.events[full("TripBooked")]
    assert (asked.starts, asked.deadline_s, asked.public) == ("travel", 90.0, False)
    assert (booked.starts, booked.deadline_s, booked.public) == ("", None, True)
    assert booked.outcome == options.OUTCOME_COMPLETED
    assert booked.message_class is TRAVEL.message("TripBooked")


def test_a_contract_knows_every_event_that_its_methods_name(travel: Contract) -> None:
    assert set(travel.events) == {
        full(name) for name in ("TripAsked", "SeatHeld", "SeatRefused", "TripBooked", "SeatGiven")
    }


def test_an_event_comes_from_success_or_from_refusal(travel: Contract) -> None:
    hold = in_travel(travel, "HoldSeat")
    assert travel.sources_of(full("SeatHeld")) == [hold]
    assert travel.sources_of(full("SeatRefused")) == [hold]
    assert travel.sources_of("") == []


def test_a_process_is_what_follows_from_its_starting_event(travel: Contract) -> None:
    process = travel.processes["travel"]
    assert isinstance(process, Process)
    assert process.start.full_name == full("TripAsked")
    assert {method.name for method in process.methods} == {"HoldSeat", "Book", "CallOff"}
    assert process.pivot is in_travel(travel, "Book")
    assert process.aborting is in_travel(travel, "CallOff")
    assert travel.process_of(in_travel(travel, "CallOff")) is process


def test_a_service_is_named_by_its_package() -> None:
    assert service_name("shop.inventory.v1.InventoryService") == "inventory"
    assert service_name("acme.credit_check.v2.CreditCheckService") == "credit-check"
    with pytest.raises(ContractError, match=r"package like shop\.inventory\.v1"):
        service_name("v1.Service")


def test_the_services_of_packages_are_found_in_the_order_of_their_names() -> None:
    names = [service.full_name for service in service_descriptors("shop.shipping", "shop.payments")]
    assert names == ["shop.payments.v1.PaymentsService", "shop.shipping.v1.ShippingService"]


def test_a_message_is_found_in_a_process_that_never_imported_its_module() -> None:
    program = "from mesh import registry; print(registry.message_class('shop.shipping.v1.ShipmentBooked').__module__)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert result.stdout.strip() == "shop.shipping.v1.events_pb2", result.stderr


def test_a_package_without_generated_code_is_unknown() -> None:
    with pytest.raises(UnknownName, match="no generated code in package 'nowhere'"):
        service_descriptors("nowhere")
    with pytest.raises(UnknownName, match="no message Bare"):
        message_descriptor("Bare")
