"""A small contract in which nothing is wrong, to be broken in one place at a time."""

from __future__ import annotations

from pathlib import Path

from mesh import descriptors
from mesh.descriptors import Source
from mesh.verification import Collected, Proof, prove
from tests.unit.mesh.protofiles import compiled_from

# A file, a text that is there exactly once, and what is to stand in its place.
Change = tuple[str, str, str]

TRIPS = "acme/trips/v1/trips.proto"
SEATS = "acme/seats/v1/seats.proto"

_HEADER = """syntax = "proto3";
package acme.{name}.v1;
import "ensemble/coordination/v1/coordination.proto";
import "google/rpc/error_details.proto";
"""

_TRIPS = """
message Trip { string trip_id = 1 [(ensemble.coordination.v1.saga_id) = true]; }
message Empty {}

message TripAsked { option (event) = {starts: "travel"}; Trip trip = 1; }
message TripBooked { option (event) = {}; Trip trip = 1; }
message TripRefused { option (event) = {}; Trip trip = 1; google.rpc.ErrorInfo refusal = 2; }
message TripCalledOff { option (event) = {}; Trip trip = 1; }
message CallOffRefused { option (event) = {}; Trip trip = 1; google.rpc.ErrorInfo refusal = 2; }
message TripCompleted { option (event) = {public: true outcome: OUTCOME_COMPLETED}; Trip trip = 1; }
message TripClosed { option (event) = {outcome: OUTCOME_COMPENSATED}; Trip trip = 1; }

message BookRequest { Trip trip = 1; }
message CallOffRequest { Trip trip = 1; }
message CompleteRequest { Trip trip = 1; string ticket = 2; }
message CloseRequest { Trip trip = 1; }
message TellRequest { Trip trip = 1; }

service TripsService {
  rpc Book(BookRequest) returns (Empty) {
    option (participation) = {
      on: ["acme.seats.v1.SeatHeld", "acme.seats.v1.RoomHeld"] join: JOIN_ALL
      emits: "acme.trips.v1.TripBooked" refuses: "acme.trips.v1.TripRefused"
      pivot: true
    };
  }
  rpc CallOff(CallOffRequest) returns (Empty) {
    option (participation) = {
      on: ["acme.seats.v1.SeatRefused", "acme.seats.v1.RoomRefused", "acme.trips.v1.TripRefused"]
      emits: "acme.trips.v1.TripCalledOff"
      refuses: "acme.trips.v1.CallOffRefused"
      aborts: "Book"
    };
  }
  rpc Complete(CompleteRequest) returns (Empty) {
    option (participation) = {on: "acme.seats.v1.TicketSent" emits: "acme.trips.v1.TripCompleted"};
  }
  rpc Close(CloseRequest) returns (Empty) {
    option (participation) = {
      on: ["acme.seats.v1.SeatFreed", "acme.seats.v1.RoomFreed"] join: JOIN_ALL
      emits: "acme.trips.v1.TripClosed"
    };
  }
  rpc Tell(TellRequest) returns (Empty) { option (participation) = {observes: "acme.trips.v1.TripCompleted"}; }
}
"""

_SEATS = """
import "acme/trips/v1/trips.proto";
message Answer { string hold_id = 1; }
message SendTicketResponse { string ticket = 1; }

message SeatHeld { option (event) = {}; acme.trips.v1.Trip trip = 1; string hold_id = 2; }
message SeatRefused { option (event) = {}; acme.trips.v1.Trip trip = 1; google.rpc.ErrorInfo refusal = 2; }
message SeatFreed { option (event) = {}; acme.trips.v1.Trip trip = 1; }
message RoomHeld { option (event) = {}; acme.trips.v1.Trip trip = 1; }
message RoomRefused { option (event) = {}; acme.trips.v1.Trip trip = 1; google.rpc.ErrorInfo refusal = 2; }
message RoomFreed { option (event) = {}; acme.trips.v1.Trip trip = 1; }
message TicketSent { option (event) = {}; acme.trips.v1.Trip trip = 1; string ticket = 2; }

message HoldSeatRequest { acme.trips.v1.Trip trip = 1; }
message FreeSeatRequest { acme.trips.v1.Trip trip = 1; }
message HoldRoomRequest { acme.trips.v1.Trip trip = 1; }
message FreeRoomRequest { acme.trips.v1.Trip trip = 1; }
message SendTicketRequest { acme.trips.v1.Trip trip = 1; }

service SeatsService {
  rpc HoldSeat(HoldSeatRequest) returns (Answer) {
    option (participation) = {
      on: "acme.trips.v1.TripAsked" emits: "acme.seats.v1.SeatHeld" refuses: "acme.seats.v1.SeatRefused"
    };
  }
  rpc FreeSeat(FreeSeatRequest) returns (Answer) {
    option (participation) = {
      on: "acme.trips.v1.TripCalledOff" emits: "acme.seats.v1.SeatFreed" compensates: "HoldSeat"
    };
  }
  rpc HoldRoom(HoldRoomRequest) returns (Answer) {
    option (participation) = {
      on: "acme.trips.v1.TripAsked" emits: "acme.seats.v1.RoomHeld" refuses: "acme.seats.v1.RoomRefused"
    };
  }
  rpc FreeRoom(FreeRoomRequest) returns (Answer) {
    option (participation) = {
      on: "acme.trips.v1.TripCalledOff" emits: "acme.seats.v1.RoomFreed" compensates: "HoldRoom"
    };
  }
  rpc SendTicket(SendTicketRequest) returns (SendTicketResponse) {
    option (participation) = {on: "acme.trips.v1.TripBooked" emits: "acme.seats.v1.TicketSent"};
  }
  // More methods.
}
// More messages.
"""


def travel() -> dict[str, str]:
    """The files of the contract, by name. Options are written in full."""
    bodies = {TRIPS: ("trips", _TRIPS), SEATS: ("seats", _SEATS)}
    return {file: in_full(_HEADER.format(name=name) + body) for file, (name, body) in bodies.items()}


def in_full(text: str) -> str:
    """A contract's text with the names of the options written in full."""
    return text.replace("(event)", "(ensemble.coordination.v1.event)").replace(
        "(participation)", "(ensemble.coordination.v1.participation)"
    )


def broken(*changes: Change) -> dict[str, str]:
    """The contract with changes, one after the other."""
    files = travel()
    for file, old, new in changes:
        old, new = in_full(old), in_full(new)
        assert files[file].count(old) == 1, f"{file} has {old!r} {files[file].count(old)} times"
        files[file] = files[file].replace(old, new)
    return files


def written(files: dict[str, str], folder: Path) -> Path:
    """These files as a descriptor set, as `--descriptors` takes it."""
    path = folder / "contract.binpb"
    path.write_bytes(compiled_from(files, "--include_imports", "--include_source_info"))
    return path


def proof_of(files: dict[str, str], folder: Path) -> tuple[Proof, Source]:
    """What is found in these files, and where their things are."""
    collected = Collected()
    source = descriptors.of_file(written(files, folder), collected)
    return prove(source.contract, collected.findings), source


def marked_line(files: dict[str, str]) -> tuple[str, int]:
    """The file and line with the comment `/*!*/`, where a finding is expected."""
    found = [
        (file, number)
        for file, text in files.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if "/*!*/" in line
    ]
    assert len(found) == 1, found
    return found[0]
