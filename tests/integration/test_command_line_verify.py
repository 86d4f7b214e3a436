"""`ensemble verify` and `ensemble graph`: what they print, and their exit status."""

from __future__ import annotations

import json
import re
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from click.testing import CliRunner, Result

from console.main import main
from orchestrator.workflow import Workflow, Workflows
from shop.orders.v1.events_pb2 import OrderPlaced
from tests import harness
from tests.contract.verification.travel import SEATS, TRIPS, Change, broken, travel, written
from tests.unit.equivalence.shop_steps import without
from tests.unit.mesh.protofiles import compiled_from

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"(?P<file>[\w/.]+):(?P<line>\d+): (?P<severity>error|warning): .+; .+ \[(?P<check>[a-z-]+)\]")

ENDLESS: Change = (TRIPS, "outcome: OUTCOME_COMPLETED", "")


def ensemble(*arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(main, list(arguments))


@pytest.fixture(scope="module")
def of_the_shop() -> CompletedProcess[str]:
    """In a process of its own, which knows no workflows of tests."""
    return harness.ensemble("verify")


def test_the_shop_is_proved_and_the_summary_says_how_much_was_looked_at(of_the_shop: CompletedProcess[str]) -> None:
    assert (of_the_shop.returncode, of_the_shop.stderr) == (0, "")
    first, second = of_the_shop.stdout.splitlines()
    assert first == "nothing wrong in 5 services, 14 methods, 19 events, 2 processes (2 paths walked)"
    assert re.fullmatch(r"1 workflow compared, on \d{3} paths: orchestration agrees with choreography", second), second


def test_a_descriptor_set_is_proved_as_the_generated_code_is(tmp_path: Path) -> None:
    done = ensemble("verify", "--descriptors", str(written(travel(), tmp_path)), "--json")
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert report["findings"] == []
    assert (report["services"], report["methods"], report["processes"]) == (2, 10, 1)


def test_an_error_is_one_line_with_its_place_and_its_mend_and_exits_1(tmp_path: Path) -> None:
    done = ensemble("verify", "--descriptors", str(written(broken(ENDLESS), tmp_path)))
    assert done.exit_code == 1
    line, summary, _ = done.stdout.splitlines()
    found = LINE.fullmatch(line)
    assert found, line
    assert found.groupdict() == {"file": TRIPS, "line": "9", "severity": "error", "check": "no-outcome"}
    assert summary.startswith("1 error in 2 services")


def test_warnings_alone_exit_0(tmp_path: Path) -> None:
    clashing = (
        SEATS,
        "message Answer { string hold_id = 1; }",
        "message Answer { string hold_id = 1; int32 trip = 2; }",
    )
    done = ensemble("verify", "--descriptors", str(written(broken(clashing), tmp_path)))
    assert done.exit_code == 0
    *lines, summary, _ = done.stdout.splitlines()
    assert lines
    assert {found["severity"] for line in lines if (found := LINE.fullmatch(line))} == {"warning"}
    assert re.match(r"\d warnings in 2 services", summary)


def test_json_says_the_same_as_the_lines(tmp_path: Path) -> None:
    path = str(written(broken(ENDLESS), tmp_path))
    (finding,) = json.loads(ensemble("verify", "--descriptors", path, "--json").stdout)["findings"]
    line = "{file}:{line}: {severity}: {what}; {help} [{check}]".format(**finding)
    assert line == ensemble("verify", "--descriptors", path).stdout.splitlines()[0]


def test_without_source_info_the_file_is_named_and_a_note_says_why(tmp_path: Path) -> None:
    path = tmp_path / "bare.binpb"
    path.write_bytes(compiled_from(broken(ENDLESS), "--include_imports"))
    done = ensemble("verify", "--descriptors", str(path))
    assert done.exit_code == 1
    assert done.stdout.startswith(f"{TRIPS}: error: ")
    assert "source info" in done.stderr


@pytest.fixture
def unusable(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "text").write_text("no descriptors")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "alone").write_bytes(compiled_from(travel()))
    return {name: tmp_path / name for name in ("text", "empty", "alone", "missing")} | {"folder": tmp_path}


@pytest.mark.parametrize("command", ["verify", "graph"])
@pytest.mark.parametrize("what", ["text", "empty", "alone", "missing", "folder"])
def test_a_file_that_is_no_descriptor_set_exits_2_with_one_line(
    command: str, what: str, unusable: dict[str, Path]
) -> None:
    done = ensemble(command, "--descriptors", str(unusable[what]))
    assert (done.exit_code, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert str(unusable[what]) in line


def test_contracts_that_are_not_there_exit_1_with_one_line() -> None:
    for command in ("verify", "graph"):
        done = ensemble(command, ENSEMBLE_CONTRACTS="nowhere")
        assert done.exit_code == 1
        assert len(done.stderr.splitlines()) == 1


def test_a_contract_with_faults_is_not_drawn(tmp_path: Path) -> None:
    lost = (
        SEATS,
        "// More methods.",
        'rpc Look(HoldSeatRequest) returns (Answer) { option (participation) = {on: "x.Y"}; }',
    )
    done = ensemble("graph", "--descriptors", str(written(broken(lost), tmp_path)))
    assert done.exit_code == 1
    assert "`ensemble verify`" in done.stderr


MARKS: dict[str, list[str]] = {
    "text": ["◆ trips.Book", "◇ trips.CallOff", "↶ FreeSeat", "undoes HoldSeat", "■ completed", "on TripCompleted"],
    "mermaid": [
        "pivot: go",
        "no-go: the other side of Book",
        "undoes HoldSeat",
        "class trips_Book pivot",
        "((completed))",
    ],
    "dot": ["pivot: go", "no-go: the other side of Book", "undoes HoldSeat", "peripheries=2"],
    "json": ['"role": "pivot"', '"role": "no-go"', '"role": "compensation"', '"outcome": "compensated"'],
}


@pytest.mark.parametrize("format_", MARKS)
def test_pivot_no_go_and_compensations_are_marked_in_every_format(format_: str, tmp_path: Path) -> None:
    done = ensemble("graph", "--format", format_, "--descriptors", str(written(travel(), tmp_path)))
    assert done.exit_code == 0, done.output
    assert [mark for mark in MARKS[format_] if mark not in done.stdout] == []


def test_the_terminal_shows_forward_before_back_and_each_method_once() -> None:
    drawn = ensemble("graph").stdout
    places: list[Any] = [
        drawn.index(text)
        for text in ("  forward", "─◆ orders.ConfirmOrder", "  back", "─◇ orders.CancelOrder", "observers")
    ]
    assert places == sorted(places)
    for method in ("inventory.ReserveStock", "payments.VoidPayment", "orders.CloseOrder", "orders.RecordOrder"):
        assert drawn.count(method) == 1


def test_the_readme_shows_what_verify_prints(of_the_shop: CompletedProcess[str]) -> None:
    assert f"$ ensemble verify\n{of_the_shop.stdout}```" in (ROOT / "README.md").read_text()


def test_a_workflow_with_a_step_left_out_exits_1_with_the_line_that_the_readme_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = Workflows([Workflow("fulfil-order", without("book"), OrderPlaced)])
    monkeypatch.setattr("console.verification.registered", lambda: short)
    done = ensemble("verify")
    assert done.exit_code == 1
    *lines, _, compared = done.stdout.splitlines()
    (left_out,) = [line for line in lines if "BookShipment (" in line]
    assert LINE.fullmatch(left_out)
    assert f"```\n{left_out}\n```" in (ROOT / "README.md").read_text()
    assert compared.endswith("orchestration differs from choreography")


def test_the_readme_shows_what_the_command_draws() -> None:
    (shown,) = re.findall(r"```mermaid\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown == ensemble("graph", "--format", "mermaid").stdout
