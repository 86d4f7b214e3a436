"""A message is filled from others by field name and type."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.projection import Disagreement, missing_fields, project
from shop.inventory.v1.events_pb2 import StockReserved
from shop.inventory.v1.inventory_pb2 import ReserveStockRequest, ReserveStockResponse
from tests.builders import an_order
from tests.unit.mesh.protofiles import define

SHAPES = define("""
enum Colour { COLOUR_UNSPECIFIED = 0; COLOUR_RED = 1; }
enum Mood { MOOD_UNSPECIFIED = 0; MOOD_GLAD = 1; }
message Part { string name = 1; }
message Other { string name = 1; }

message Full {
  string text = 1;
  optional int32 maybe = 2;
  Part part = 3;
  repeated Part parts = 4;
  map<string, Part> by_name = 5;
  repeated string words = 6;
  Colour colour = 7;
  bytes data = 8;
  map<string, int32> counts = 9;
  oneof choice { string left = 10; Part right = 11; }
}
// The same names and types, by other numbers and in another order.
message Same {
  oneof choice { Part right = 1; string left = 2; }
  map<string, int32> counts = 3;
  bytes data = 4;
  Colour colour = 5;
  repeated string words = 6;
  map<string, Part> by_name = 7;
  repeated Part parts = 8;
  Part part = 9;
  optional int32 maybe = 10;
  string text = 11;
}
// The same names, and nothing of the same type.
message Alien {
  bytes text = 1;
  optional int64 maybe = 2;
  Other part = 3;
  Part parts = 4;
  map<string, Other> by_name = 5;
  string words = 6;
  Mood colour = 7;
  string data = 8;
  map<string, int64> counts = 9;
  repeated string left = 10;
  Other right = 11;
}
message Implicit { string note = 1; int32 number = 2; }
message Explicit { optional string note = 1; optional int32 number = 2; }
message Text { string text = 1; }
message Extra { string text = 1; string extra = 2; }
""")

Full, Same, Alien, Part = (SHAPES.message(name) for name in ("Full", "Same", "Alien", "Part"))
Implicit, Explicit, Text, Extra = (SHAPES.message(name) for name in ("Implicit", "Explicit", "Text", "Extra"))


def filled(**changes: Any) -> Any:
    values = {
        "text": "t",
        "maybe": 0,
        "part": Part(name="p"),
        "parts": [Part(name="a"), Part(name="b")],
        "by_name": {"k": Part(name="v")},
        "words": ["x", "y"],
        "colour": 1,
        "data": b"\x00",
        "counts": {"n": 3},
        "right": Part(name="r"),
    }
    return Full(**{**values, **changes})


def test_an_event_is_filled_from_request_and_response() -> None:
    order = an_order()
    event = project(StockReserved, ReserveStockRequest(order=order), ReserveStockResponse(reservation_id="r-1"))
    assert event == StockReserved(order=order, reservation_id="r-1")


def test_every_kind_of_field_is_copied() -> None:
    there = project(Same, filled())
    assert project(Full, there) == filled()
    assert len(there.ListFields()) == len(filled().ListFields())


def test_a_projection_of_nothing_is_empty() -> None:
    assert project(Full, Full()) == Full()


def test_presence_is_copied_with_the_value() -> None:
    assert project(Same, filled(maybe=0)).HasField("maybe")
    assert not project(Same, Full(text="t")).HasField("maybe")
    assert not project(Same, Full(text="t")).HasField("part")
    assert project(Same, Full(part=Part())).HasField("part")


def test_the_chosen_side_of_a_oneof_is_copied() -> None:
    assert project(Same, filled()).WhichOneof("choice") == "right"
    assert project(Same, Full(left="")).WhichOneof("choice") == "left"
    assert project(Same, Full()).WhichOneof("choice") is None


def test_fields_of_another_type_are_no_source() -> None:
    alien = Alien(text=b"t", part={"name": "p"}, words="x", left=["l"], counts={"n": 3}, colour=1)
    assert project(Full, alien) == Full()
    assert missing_fields(Full.DESCRIPTOR, [Alien.DESCRIPTOR]) == [field.name for field in Full.DESCRIPTOR.fields]


def test_the_target_shares_nothing_with_its_source() -> None:
    source = filled()
    target = project(Same, source)
    source.part.name = "changed"
    source.parts[0].name = "changed"
    source.by_name["k"].name = "changed"
    assert (target.part.name, target.parts[0].name, target.by_name["k"].name) == ("p", "a", "v")


@pytest.mark.parametrize("source", [Implicit, Explicit])
@pytest.mark.parametrize("target", [Implicit, Explicit])
def test_a_value_crosses_between_fields_with_and_without_presence(source: Any, target: Any) -> None:
    assert missing_fields(target.DESCRIPTOR, [source.DESCRIPTOR]) == []
    made = project(target, source(note="n", number=7))
    assert (made.note, made.number) == ("n", 7)


@pytest.mark.parametrize("sources", [(Implicit, Explicit), (Explicit, Implicit)])
@pytest.mark.parametrize("target", [Implicit, Explicit])
def test_sources_with_and_without_presence_can_agree(sources: tuple[Any, Any], target: Any) -> None:
    made = project(target, *(source(note="n", number=7) for source in sources))
    assert (made.note, made.number) == ("n", 7)


def test_sources_that_agree_are_joined() -> None:
    assert project(Extra, Text(text="t"), Extra(text="t", extra="e")) == Extra(text="t", extra="e")
    assert project(Same, filled(), filled()) == project(Same, filled())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", "other"),
        ("text", ""),
        ("maybe", 1),
        ("maybe", None),
        ("part", Part(name="other")),
        ("part", None),
        ("parts", [Part(name="b"), Part(name="a")]),
        ("by_name", {"k": Part(name="other")}),
        ("by_name", {}),
        ("words", ["x"]),
        ("colour", 0),
        ("data", b""),
        ("counts", {"n": 4}),
        ("right", Part(name="other")),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_sources_that_disagree_on_a_shared_field_are_refused(field: str, value: Any, turned: bool) -> None:
    sources = [filled(), filled(**{field: value})]
    with pytest.raises(Disagreement, match=rf"Full\.{field} differs"):
        project(Same, *(reversed(sources) if turned else sources))


def test_sources_may_disagree_on_what_the_target_does_not_have() -> None:
    assert project(Text, Extra(text="t", extra="one"), Extra(text="t", extra="two")) == Text(text="t")


def test_missing_fields_are_those_that_no_source_has() -> None:
    assert missing_fields(Extra.DESCRIPTOR, [Text.DESCRIPTOR]) == ["extra"]
    assert missing_fields(Extra.DESCRIPTOR, [Text.DESCRIPTOR, Extra.DESCRIPTOR]) == []
    assert missing_fields(Full.DESCRIPTOR, [Same.DESCRIPTOR]) == []
    assert missing_fields(Text.DESCRIPTOR, []) == ["text"]
