"""`scripts/faults` as a command: what it lists and refuses, and its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scripts.faulting import __main__ as command
from scripts.faulting import result
from scripts.faulting.catalogue import FAULTS


def faults(*arguments: str) -> Result:
    return CliRunner().invoke(command.main, arguments)


def test_it_lists_the_faults_with_a_line_for_each() -> None:
    done = faults("--list")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(FAULTS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["earthquake"], "earthquake"),
        (["kills", "--orders", "3"], "--orders"),
        (["kills", "--report", "/no/such/folder/report.md"], "/no/such/folder"),
        (["kills", "--data", "/dev/null/x"], "--data"),
    ],
)
def test_wrong_usage_is_told_at_once_and_status_2(arguments: list[str], told: str) -> None:
    wrong = faults(*arguments)
    assert wrong.exit_code == 2
    assert told in wrong.stderr


@pytest.mark.parametrize(
    ("missing", "faulty", "status"),
    [((), (), 0), (("kills",), (), 0), (("kills", "pauses"), (), 1), ((), ("pauses",), 1)],
    ids=["all held", "one is not possible here", "none is possible", "one did not hold"],
)
def test_the_exit_status_and_the_report_say_what_came_of_it(
    missing: tuple[str, ...], faulty: tuple[str, ...], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str, *_: object) -> result.Result:
        why = "it needs root" if name in missing else ""
        return result.Result(name, "", 0, missing=why, faults=["lost"] if name in faulty else [])

    monkeypatch.setattr(command, "_run", run)
    done = faults("kills", "pauses", "--report", str(tmp_path / "report.md"))
    assert done.exit_code == status
    report = (tmp_path / "report.md").read_text()
    assert report.count("not possible here") == len(missing)
    assert report.count("FAILED") == len(faulty)
