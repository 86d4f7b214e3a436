"""Each check finds the small contract that breaks just it, in the line that is to be mended, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mesh.verification import Severity, endings, events, names, pivots, projections, reactions, reading
from tests.contract.verification.travel import SEATS, TRIPS, Change, broken, marked_line, proof_of

KEY = "[(ensemble.coordination.v1.step_key) = true]"
SAGA_ID = "[(ensemble.coordination.v1.saga_id) = true]"


def method(name: str, options: str, request: str = "HoldSeatRequest", mark: str = "/*!*/ ") -> Change:
    """One more method of SeatsService."""
    rpc = f"{mark}rpc {name}({request}) returns (Answer) {{ option (participation) = {{{options}}}; }}"
    return (SEATS, "// More methods.", f"{rpc}\n// More methods.")


def messages(text: str) -> Change:
    """More messages beside SeatsService."""
    return (SEATS, "// More messages.", f"{text}\n// More messages.")


def event(name: str, options: str = "", mark: str = "") -> Change:
    return messages(f"{mark}message {name} {{ option (event) = {{{options}}}; acme.trips.v1.Trip trip = 1; }}")


def mark(file: str, text: str) -> Change:
    """Expects the finding in the line of this text."""
    return (file, text, f"/*!*/ {text}")


# Who aborts nothing is never too late.
LATE: Change = (TRIPS, 'refuses: "acme.trips.v1.CallOffRefused"', "")

BREAKS: list[tuple[str, list[Change]]] = [
    ("unknown-event", [method("Look", 'observes: "acme.nowhere.v1.Missing"')]),
    ("not-an-event", [(SEATS, "message RoomHeld { option (event) = {};", "/*!*/ message RoomHeld {")]),
    ("unknown-method", [mark(SEATS, "rpc FreeSeat"), (SEATS, '"HoldSeat"', '"Hold"')]),
    # No saga id, several, and one that is no text.
    ("saga-id", [method("Look", "", "Bare", ""), messages("/*!*/ message Bare {}")]),
    (
        "saga-id",
        [
            method("Look", "", "Twice", ""),
            messages("/*!*/ message Twice { acme.trips.v1.Trip one = 1; acme.trips.v1.Trip other = 2; }"),
        ],
    ),
    ("saga-id", [method("Look", "", "Number", ""), messages(f"/*!*/ message Number {{ int64 id = 1 {SAGA_ID}; }}")]),
    (
        "keyed-join",
        [
            mark(TRIPS, "rpc Close"),
            (TRIPS, "CloseRequest { Trip trip = 1;", f"CloseRequest {{ Trip trip = 1; string hold_id = 2 {KEY};"),
            (SEATS, "message SeatFreed {", "message SeatFreed { string hold_id = 2;"),
        ],
    ),
    (
        "service-name",
        [
            messages("/*!*/ service RoomsService {"),
            messages("rpc Look(HoldSeatRequest) returns (Answer) { option (participation) = {}; } }"),
        ],
    ),
    ("starts-twice", [event("Asked", 'starts: "travel"'), mark(TRIPS, "message TripAsked")]),
    (
        "aborts-no-pivot",
        [
            mark(TRIPS, "rpc CallOff"),
            (TRIPS, 'aborts: "Book"', 'aborts: "Complete"'),
        ],
    ),
    ("nobody-emits", [event("Thawed", mark="/*!*/ "), method("Look", 'on: "acme.seats.v1.Thawed"', mark="")]),
    (
        "nobody-hears",
        [
            event("Frozen", mark="/*!*/ "),
            method("Freeze", 'on: "acme.trips.v1.TripBooked" emits: "acme.seats.v1.Frozen"', mark=""),
        ],
    ),
    ("observed-unheard", [method("Look", 'observes: "acme.trips.v1.TripBooked"')]),
    (
        "unfilled-request",
        [
            (
                SEATS,
                "HoldRoomRequest { acme.trips.v1.Trip trip = 1;",
                "HoldRoomRequest { acme.trips.v1.Trip trip = 1;\n/*!*/ int32 beds = 2;",
            )
        ],
    ),
    # The engine takes the no-go side from the starting event, so the request is to be filled from there, too.
    (
        "unfilled-request",
        [
            (
                TRIPS,
                "CallOffRequest { Trip trip = 1;",
                "CallOffRequest { Trip trip = 1;\n/*!*/ google.rpc.ErrorInfo refusal = 2;",
            ),
            (TRIPS, "TripRefused { option", "TripRefused { option"),
        ],
    ),
    ("unfilled-event", [(SEATS, "message RoomFreed {", "message RoomFreed {\n/*!*/ int32 beds = 2;\n")]),
    ("type-clash", [(TRIPS, "string ticket = 2;", "\n/*!*/ bytes ticket = 2;\n")]),
    # Filled, but not from everywhere where one might think so: a warning.
    (
        "type-clash",
        [
            (
                SEATS,
                "SendTicketResponse { string ticket = 1;",
                "SendTicketResponse { string ticket = 1; string trip = 2;",
            ),
            (SEATS, "message TicketSent { option (event) = {};", "message TicketSent { option (event) = {};\n/*!*/ "),
        ],
    ),
    (
        "never-fires",
        [event("Echoed"), method("Echo", 'on: "acme.seats.v1.Echoed" emits: "acme.seats.v1.Echoed"')],
    ),
    # A join that waits for its own effect.
    (
        "never-fires",
        [
            event("Echoed"),
            method(
                "Echo",
                'on: ["acme.trips.v1.TripBooked", "acme.seats.v1.Echoed"] join: JOIN_ALL emits: "acme.seats.v1.Echoed"',
            ),
        ],
    ),
    # Both outcomes of one method; what follows from both; both sides of the pivot.
    ("impossible-join", [method("Look", 'on: ["acme.seats.v1.SeatHeld", "acme.seats.v1.SeatRefused"] join: JOIN_ALL')]),
    (
        "impossible-join",
        [method("Look", 'on: ["acme.seats.v1.TicketSent", "acme.seats.v1.RoomRefused"] join: JOIN_ALL')],
    ),
    ("impossible-join", [method("Look", 'on: ["acme.seats.v1.SeatFreed", "acme.trips.v1.TripBooked"] join: JOIN_ALL')]),
    (
        "cycle",
        [
            event("Echoed"),
            method("Echo", 'on: ["acme.trips.v1.TripBooked", "acme.seats.v1.Echoed"] emits: "acme.seats.v1.Echoed"'),
        ],
    ),
    (
        "cycle",
        [
            event("Asked"),
            event("Answered"),
            method("Ask", 'on: ["acme.trips.v1.TripBooked", "acme.seats.v1.Answered"] emits: "acme.seats.v1.Asked"'),
            method("Reply", 'on: "acme.seats.v1.Asked" emits: "acme.seats.v1.Answered"', mark=""),
        ],
    ),
    ("no-pivot", [mark(TRIPS, "message TripAsked"), (TRIPS, "pivot: true", ""), LATE, (TRIPS, 'aborts: "Book"', "")]),
    ("one-sided", [mark(TRIPS, "rpc CallOff("), LATE]),
    (
        "one-sided",
        [
            mark(TRIPS, "rpc Book("),
            (TRIPS, ' refuses: "acme.trips.v1.TripRefused"', ""),
            (TRIPS, '"acme.seats.v1.RoomRefused", "acme.trips.v1.TripRefused"', '"acme.seats.v1.RoomRefused"'),
        ],
    ),
    ("no-abort", [mark(TRIPS, "rpc Book"), LATE, (TRIPS, 'aborts: "Book"', "")]),
    (
        "two-pivots",
        [
            mark(SEATS, "rpc SendTicket("),
            (SEATS, 'emits: "acme.seats.v1.TicketSent"', 'emits: "acme.seats.v1.TicketSent" pivot: true'),
        ],
    ),
    ("no-compensation", [mark(SEATS, "rpc HoldSeat("), (SEATS, 'compensates: "HoldSeat"', "")]),
    (
        "unused-compensation",
        [
            method("HoldCar", 'on: "acme.trips.v1.TripAsked"', mark=""),
            method("FreeCar", 'compensates: "HoldCar"'),
        ],
    ),
    # Triggered, but by what may not have happened when the trip is called off.
    (
        "unused-compensation",
        [
            method("HoldCar", 'on: "acme.trips.v1.TripAsked"', mark=""),
            method("FreeCar", 'on: "acme.seats.v1.SeatRefused" compensates: "HoldCar"'),
        ],
    ),
    (
        "refusal-after-pivot",
        [
            event("Lost", "public: true"),
            mark(SEATS, "rpc SendTicket("),
            (
                SEATS,
                'emits: "acme.seats.v1.TicketSent"',
                'emits: "acme.seats.v1.TicketSent" refuses: "acme.seats.v1.Lost"',
            ),
        ],
    ),
    (
        "refusal-on-way-back",
        [
            event("Kept", "public: true"),
            mark(SEATS, "rpc FreeSeat("),
            (SEATS, 'compensates: "HoldSeat"', 'compensates: "HoldSeat" refuses: "acme.seats.v1.Kept"'),
        ],
    ),
    # The way forward, and the way back.
    ("no-outcome", [mark(TRIPS, "message TripAsked"), (TRIPS, "outcome: OUTCOME_COMPLETED", "")]),
    ("no-outcome", [mark(TRIPS, "rpc CallOff"), (TRIPS, "outcome: OUTCOME_COMPENSATED", "public: true")]),
    # A refusal that the no-go side does not hear.
    (
        "starved-join",
        [
            mark(TRIPS, "rpc Book"),
            (TRIPS, '"acme.seats.v1.SeatRefused", ', ""),
            (
                SEATS,
                "message SeatRefused { option (event) = {}",
                "message SeatRefused { option (event) = {public: true}",
            ),
        ],
    ),
    # A way back that waits for a step of the way forward.
    (
        "starved-join",
        [
            event("CarHeld"),
            method("HoldCar", 'on: "acme.trips.v1.TripAsked" emits: "acme.seats.v1.CarHeld"', mark=""),
            method("FreeCar", 'on: "acme.trips.v1.TripCalledOff" compensates: "HoldCar"', mark=""),
            mark(TRIPS, "rpc Close"),
            (TRIPS, '"acme.seats.v1.RoomFreed"] join', '"acme.seats.v1.RoomFreed", "acme.seats.v1.CarHeld"] join'),
        ],
    ),
]

MODULES = (reading, names, events, projections, reactions, pivots, endings)


def test_every_check_has_a_contract_that_breaks_it() -> None:
    described = {
        check
        for module in MODULES
        for check in re.findall(r"^([a-z-]+)(?: \(\w+\))?  +\S", module.__doc__ or "", re.MULTILINE)
    }
    assert described == {check for check, _ in BREAKS}


@pytest.mark.parametrize(("check", "changes"), BREAKS, ids=[check for check, _ in BREAKS])
def test_a_break_is_found_in_its_line_and_nothing_else(check: str, changes: list[Change], tmp_path: Path) -> None:
    files = broken(*changes)
    proof, source = proof_of(files, tmp_path)
    found = [(one.check, source.places.of(one.subject)) for one in proof.findings]
    assert [(name, place.file, place.line) for name, place in found] == [(check, *marked_line(files))], proof.findings
    for finding in proof.findings:
        assert finding.what
        assert finding.help


@pytest.mark.parametrize(("check", "severity"), [("nobody-hears", Severity.WARNING), ("nobody-emits", Severity.ERROR)])
def test_an_event_that_nobody_hears_does_no_harm(check: str, severity: Severity, tmp_path: Path) -> None:
    proof, _ = proof_of(broken(*dict(BREAKS)[check]), tmp_path)
    assert [finding.severity for finding in proof.findings] == [severity]


def test_several_faults_are_all_found(tmp_path: Path) -> None:
    several = ["unknown-event", "nobody-emits", "unfilled-event"]
    changes = [change for check in several for change in dict(BREAKS)[check]]
    renamed = [(file, old, new.replace("Look(", f"Look{index}(")) for index, (file, old, new) in enumerate(changes)]
    proof, _ = proof_of(broken(*renamed), tmp_path)
    assert sorted(finding.check for finding in proof.findings) == sorted(several)


SOUND: dict[str, list[Change]] = {
    "the contract as it is": [],
    "a circle whose rounds are counted and that is left": [
        messages("message Round { option (event) = {}; acme.trips.v1.Trip trip = 1; int32 number = 2; }"),
        messages(f"message AskRequest {{ acme.trips.v1.Trip trip = 1; int32 number = 2 {KEY}; }}"),
        messages("message Ended { option (event) = {public: true}; acme.trips.v1.Trip trip = 1; int32 number = 2; }"),
        messages("message FirstResponse { int32 number = 1; }"),
        (
            SEATS,
            "// More methods.",
            "rpc First(HoldSeatRequest) returns (FirstResponse) { option (participation) = {"
            'on: "acme.trips.v1.TripAsked" emits: "acme.seats.v1.Round"}; '
            "option idempotency_level = NO_SIDE_EFFECTS; }\n"
            'rpc Ask(AskRequest) returns (Answer) { option (participation) = {on: "acme.seats.v1.Round" '
            'emits: "acme.seats.v1.Round" refuses: "acme.seats.v1.Ended"}; '
            "option idempotency_level = NO_SIDE_EFFECTS; }",
        ),
    ],
    "a step before the pivot that changes nothing": [
        (SEATS, 'compensates: "HoldSeat"', ""),
        (
            SEATS,
            "rpc HoldSeat(HoldSeatRequest) returns (Answer) {",
            "rpc HoldSeat(HoldSeatRequest) returns (Answer) {\noption idempotency_level = NO_SIDE_EFFECTS;",
        ),
    ],
    "a process that only goes forward": [
        event("Wished", 'starts: "wish"'),
        event("Fulfilled", "outcome: OUTCOME_COMPLETED"),
        method("Fulfil", 'on: "acme.seats.v1.Wished" emits: "acme.seats.v1.Fulfilled"', mark=""),
    ],
    "a process of a workflow only, with neither pivot nor events": [
        event("Wished", 'starts: "wish"'),
        event("Denied", "public: true"),
        method("Grant", 'refuses: "acme.seats.v1.Denied"', mark=""),
        method("Revoke", 'compensates: "Grant"', mark=""),
    ],
}


@pytest.mark.parametrize("what", SOUND)
def test_nothing_is_wrong_with(what: str, tmp_path: Path) -> None:
    proof, _ = proof_of(broken(*SOUND[what]), tmp_path)
    assert proof.findings == []
    assert proof.unfinished == ()
    assert proof.paths >= 2
