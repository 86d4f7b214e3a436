"""`ensemble` without a mesh: wrong usage exits 2, what needs a mesh exits 1 with one line, and the graph."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from console import broker
from console.graph import draw
from console.main import main
from mesh.contract import Contract

# A node of a Mermaid drawing, and an edge between two.
NODE = re.compile(r'  (\w+)(?:\[|\{\{|\(\[)"([\w.]+)(?:<br/>[^"]+)*"(?:\]|\}\}|\]\))')
EDGE = re.compile(r"  (\w+) (?:-->|-\.->)\|(\w+)\| (\w+)")


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit status."""

    returncode: int
    stdout: str
    stderr: str


def ensemble(*arguments: str, data: Path | None = None) -> Done:
    """Runs a command in this process, which saves a second each."""
    environment = {"ENSEMBLE_DATA": str(data)} if data else {}
    result = CliRunner(env=environment).invoke(main, list(arguments))
    unexpected = result.exception if not isinstance(result.exception, SystemExit) else None
    trace = "".join(traceback.format_exception(unexpected)) if unexpected else ""
    return Done(result.exit_code, result.stdout, result.stderr + trace)


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "status --json",
        "down",
        "order",
        "order --json --count 3",
        "order cancel some-order",
        "stock teapot",
        "saga list",
        "saga get some-saga",
        "saga prune --older-than 30d",
        "dead-letters list",
        "dead-letters show 1",
        "dead-letters replay 1",
        "audit",
        "audit --json",
    ],
)
def test_without_a_mesh_a_command_exits_1_with_one_line_that_names_the_folder(command: str, tmp_path: Path) -> None:
    data = tmp_path / "nothing"
    done = ensemble(*command.split(), data=data)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert str(data) in line
    assert done.stdout == ""
    assert not data.exists(), "looking for a mesh made its folder"


@pytest.mark.parametrize(
    "command",
    [
        "up --replicas inventory=2",
        "up --database mysql://host/shop",
        "up --database postgresql://host/shop --replicas teapots=2",
        "up --database postgresql://host/shop --replicas inventory=0",
        "up --database postgresql://host/shop --replicas inventory=17",
        "up --database postgresql://host/shop --replicas inventory=many",
        "up --database postgresql://host/shop --replicas inventory",
        "up --database postgresql://host/shop --replicas inventory-2=2",
        "up --database postgresql://host/shop --replicas inventory=2 --replicas inventory=3",
        "audit --database mysql://host/shop",
        "audit --settled-within soon",
        "up --no-such-flag",
        "up --base-port many",
        "order --style sideways",
        "order --count 0",
        "saga list --status SIDEWAYS",
        "saga get",
        "saga prune",
        "dead-letters show",
        "dead-letters show one",
        "dead-letters show 0",
        "dead-letters list --limit 0",
        "dead-letters list --service inventory.>",
        "dead-letters list --saga *",
        "dead-letters replay",
        "dead-letters replay 1 --all",
        "dead-letters replay 1 --service inventory",
        "graph --format pdf",
        "compare --fault earthquake",
        "compare --html /no/such/folder/report.html",
        "no-such-command",
    ],
)
def test_wrong_usage_exits_2(command: str, tmp_path: Path) -> None:
    done = ensemble(*command.split(), data=tmp_path)
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENSEMBLE_NATS_URL", "nats://elsewhere:4222"),
        ("ENSEMBLE_DATABASE_URL", "postgresql://elsewhere/shop"),
        ("ENSEMBLE_ADDRESSES", '{"payments": "elsewhere:1"}'),
    ],
)
def test_parts_that_run_elsewhere_are_not_compared(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    done = ensemble("compare", "--quick")
    assert done.returncode == 2
    assert f"unset it, as in `env -u {name} ensemble compare`" in done.stderr


def test_replicas_are_told_to_need_postgresql(tmp_path: Path) -> None:
    assert "PostgreSQL" in ensemble("up", "--replicas", "inventory=2", data=tmp_path).stderr


@pytest.mark.parametrize("command", ["up", "up --detach", "audit"])
def test_a_postgresql_that_is_not_there_is_told_in_one_line_without_the_password(command: str, tmp_path: Path) -> None:
    done = ensemble(*command.split(), "--database", "postgresql://me:secret@127.0.0.1:1/shop", data=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "127.0.0.1:1/shop" in line
    assert "secret" not in line
    assert not list(tmp_path.rglob("*.db"))


def test_a_broker_that_is_not_there_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "CONNECT_S", 0.2)
    monkeypatch.setenv("ENSEMBLE_NATS_URL", "nats://127.0.0.1:1")
    done = ensemble("dead-letters", "list", data=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "nats://127.0.0.1:1" in line
    assert "ensemble status" in line


def test_an_empty_postgresql_has_no_books(tmp_path: Path, postgres_url: str) -> None:
    done = ensemble("audit", "--database", postgres_url, data=tmp_path)
    assert done.returncode == 1
    assert "--database" in done.stderr


@pytest.mark.parametrize("command", ["order", "up", "up --detach", "graph", "verify"])
@pytest.mark.parametrize(("name", "value"), [("ENSEMBLE_CALLS_MAX", "0"), ("ENSEMBLE_ADDRESSES", "no json")])
def test_a_wrong_setting_is_named_without_a_traceback(
    command: str, name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    done = ensemble(*command.split(), *([] if command in ("graph", "verify") else ["--data", str(tmp_path)]))
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert name.removeprefix("ENSEMBLE_").lower() in done.stderr.lower()


@pytest.mark.parametrize("command", [["up"], ["up", "--detach"]])
def test_a_contract_that_is_not_there_is_named_in_one_line_and_nothing_is_started(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENSEMBLE_CONTRACTS", "shop,nowhere")
    done = ensemble(*command, data=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "ENSEMBLE_CONTRACTS" in line
    assert "'nowhere'" in line
    assert not (tmp_path / "nats").exists()


@pytest.mark.parametrize("command", [["up"], ["up", "--detach"]])
def test_a_folder_that_cannot_be_made_exits_1_with_one_line(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = ensemble(*command, "--data", str(tmp_path / "file" / "mesh"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


Edge = tuple[str, str, str]
STARTED = {"orders.RecordOrder", "inventory.ReserveStock", "payments.AuthorizePayment", "shipping.BookShipment"}


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    done = ensemble("graph", "--format", "json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def expected(contract: dict[str, Any]) -> set[Edge]:
    """Every edge between two methods, as the methods' own options say."""
    methods = contract["methods"]
    return {
        (_label(source["method"]), event.rpartition(".")[2], _label(target["method"]))
        for target in methods
        for event in target["on"] + target["observes"]
        for source in methods
        if event in (source["emits"], source["refuses"])
    }


def _label(method: str) -> str:
    service, _, name = method.rpartition(".")
    return f"{service.split('.')[-3]}.{name}"


def _between(edges: Iterator[Edge]) -> set[Edge]:
    """Without the edges of the start and the end."""
    return {edge for edge in edges if "." in edge[0] and "." in edge[2]}


def test_the_json_graph_has_every_edge(contract: dict[str, Any], expected: set[Edge]) -> None:
    assert len(expected) > 15
    assert contract["processes"] == ["fulfil-order", "promise-delivery"]
    assert _between((edge["source"], edge["event"], edge["target"]) for edge in contract["edges"]) == expected


def test_the_text_graph_says_of_a_process_that_no_service_follows_it() -> None:
    drawn = draw(Contract.of_packages("shop"), "text")
    assert "promise-delivery: starts with DeliveryPromised; no service follows it" in drawn


def test_the_dot_graph_has_every_edge(expected: set[Edge]) -> None:
    dot = ensemble("graph", "--format", "dot").stdout
    assert dot.startswith("digraph")
    assert dot.count("{") == dot.count("}") == 1
    found = re.findall(r'"([^"]+)" -> "([^"]+)" \[label="([^"]+)"', dot)
    assert _between((source, event, target) for source, target, event in found) == expected


def test_the_mermaid_graph_has_every_edge(expected: set[Edge]) -> None:
    mermaid = ensemble("graph", "--format", "mermaid").stdout
    first, *lines = mermaid.splitlines()
    assert first == "flowchart LR"
    names = {match[1]: match[2] for line in lines if (match := NODE.fullmatch(line))}
    edges = [match.groups() for line in lines if (match := EDGE.fullmatch(line))]
    assert {edge for edge in edges if edge[0] == "start"} == {
        ("start", "OrderPlaced", method) for method, name in names.items() if name in STARTED
    }
    assert {
        (names[source], event, names[target]) for source, event, target in edges if {source, target} <= {*names}
    } == expected
