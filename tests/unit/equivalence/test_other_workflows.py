"""Workflows of another contract than the shop's: children, observers, answers that say their request again."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from mesh.contract import Contract
from orchestrator.equivalence import compare
from orchestrator.equivalence.samples import SAGA_ID, sample
from orchestrator.saga import Saga
from orchestrator.workflow import Workflow, Workflows
from tests.unit.mesh.protofiles import define

WHOLE = define("""
message Case {
  string case_id = 1 [($options.saga_id) = true];
  map<string, Case> others = 2;
  Case inner = 3;
  string note = 4;
}
message Begun { option ($options.event) = {starts: "whole" deadline: {seconds: 9}}; Case case = 1; }
message HalfDone { option ($options.event) = {}; Case case = 1; }
message PartBegun { option ($options.event) = {starts: "part"}; Case case = 1; }
message PartDone { option ($options.event) = {outcome: OUTCOME_COMPLETED}; Case case = 1; }
message WholeDone { option ($options.event) = {public: true outcome: OUTCOME_COMPLETED}; Case case = 1; }
message Request { Case case = 1; }
message Response {
  oneof one { string text = 1; bytes data = 2; }
  double ratio = 3;
  bool yes = 4;
  repeated int64 numbers = 5;
  map<string, string> names = 6;
  Case case = 7;  // said again, so every event has it from two sources, which must agree
}

service Whole {
  rpc Half(Request) returns (Response) {
    option ($options.participation) = {on: "$package.Begun" emits: "$package.HalfDone"};
  }
  rpc BeginPart(Request) returns (Response) {
    option ($options.participation) = {on: "$package.HalfDone" emits: "$package.PartBegun"};
  }
  rpc End(Request) returns (Response) {
    option ($options.participation) = {on: "$package.HalfDone" emits: "$package.WholeDone"};
  }
  rpc Part(Request) returns (Response) {
    option ($options.participation) = {on: "$package.PartBegun" emits: "$package.PartDone"};
  }
  rpc Look(Request) returns (Response) { option ($options.participation) = {observes: "$package.WholeDone"}; }
}
""")
CONTRACT = Contract([WHOLE.service("Whole")])


async def call(saga: Saga, method: str, begun: Any) -> None:
    await saga.unary_unary(f"/{WHOLE.package}.Whole/{method}")(WHOLE.message("Request")(case=begun.case))


async def part(saga: Saga, begun: Message) -> None:
    await call(saga, "Part", begun)


async def whole(saga: Saga, begun: Any) -> None:
    await call(saga, "Half", begun)
    await call(saga, "BeginPart", begun)
    await saga.child("part", WHOLE.message("PartBegun")(case=begun.case))
    await call(saga, "End", begun)


async def without_part(saga: Saga, begun: Any) -> None:
    for method in ("Half", "BeginPart", "End"):
        await call(saga, method, begun)


def workflows(function: Any) -> Workflows:
    part_begun, begun = WHOLE.message("PartBegun"), WHOLE.message("Begun")
    return Workflows([Workflow("whole", function, begun), Workflow("part", part, part_begun)])


def test_a_child_does_what_the_choreography_does_in_its_place() -> None:
    comparison = compare(CONTRACT, workflows(whole))
    assert comparison.findings == []
    assert comparison.workflows == 2


def test_a_child_that_is_left_out_is_told() -> None:
    (missing,) = compare(CONTRACT, workflows(without_part)).findings
    assert missing.what.startswith("whole: when nobody refuses, only the choreography does Part")


def test_more_paths_than_are_to_be_compared_are_told() -> None:
    comparison = compare(CONTRACT, workflows(whole), paths_max=3)
    assert comparison.unfinished == ["whole"], "the part has no more"


def test_a_sample_has_something_in_every_field_and_says_where_it_comes_from() -> None:
    answer: Any = sample(WHOLE.message("Response"))
    assert [field.name for field, _ in answer.ListFields()] == ["text", "ratio", "yes", "numbers", "names", "case"]
    assert answer.text == "text of Response"
    begun: Any = sample(WHOLE.message("Begun"))
    assert begun.case.case_id == SAGA_ID
    assert not begun.case.HasField("inner"), "a message inside itself"
    assert begun == sample(WHOLE.message("Begun"))
