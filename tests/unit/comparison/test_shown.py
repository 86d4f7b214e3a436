"""The comparison in a terminal and as a page."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

from rich.console import Console

from console.comparison import plots, report, table
from tests.unit.comparison.builders import a_comparison, ended, under_fault

VOID = {"meta"}


class Nesting(HTMLParser):
    """What a page opens and does not close, and what it asks of others."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.asks: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.asks += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "xlink:href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Closed already."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: str) -> Nesting:
    nesting = Nesting()
    nesting.feed(page)
    return nesting


def test_the_page_is_well_formed_and_needs_nothing_else() -> None:
    page = report.page(a_comparison())
    nesting = read(page)
    assert (nesting.open, nesting.asks) == ([], [])
    assert "url(" not in page
    assert "<script" not in page
    assert page.count("<svg") == 3  # throughput, latencies, and the one fault


def test_whatever_the_machine_or_the_audit_says_stands_in_the_page_as_text() -> None:
    page = report.page(a_comparison(machine="<script>alert(1)</script>", faults=["stock of <b>&"]))
    assert read(page).open == []
    assert "<script" not in page
    assert "stock of &lt;b&gt;&amp;" in page


def test_the_table_fits_a_terminal_of_a_hundred_columns() -> None:
    text = io.StringIO()
    Console(file=text, width=100).print(table.show(a_comparison()))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    for expected in ("orchestrated", "choreographed", "hybrid", "the broker is dead", "p99, ms", "are right"):
        assert any(expected in line for line in lines)


def test_a_style_of_which_nothing_ended_is_shown_without_a_time() -> None:
    comparison = a_comparison()
    comparison.scenarios[0].styles["HYBRID"] = under_fault()
    text = io.StringIO()
    Console(file=text, width=100).print(table.show(comparison))
    assert "0 of 0" in text.getvalue()
    assert read(report.page(comparison)).open == []


def test_what_was_left_out_for_want_of_time_is_said() -> None:
    comparison = a_comparison(left_out=["dead-broker"])
    text = io.StringIO()
    Console(file=text, width=100).print(table.show(comparison))
    for shown in (text.getvalue(), report.page(comparison)):
        assert re.search(r"eft out, for want of time: dead-broker", shown)
    assert comparison.to_json()["left_out"] == ["dead-broker"]


def test_a_dot_stands_where_its_order_was_placed() -> None:
    axes = plots.Axes(10.0, 4.0)
    drawn = plots.timeline({"HYBRID": [(5.0, 2.0)]}, 2.0, 10.0, "s", "s")
    (cx,) = re.findall(r'cx="([\d.]+)"', drawn)
    assert float(cx) == round(axes.x(5.0), 1)
    assert ended(1.0, 2.0).latency_s == 2.0
