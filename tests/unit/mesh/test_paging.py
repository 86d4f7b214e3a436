"""A page's token leads to the page that follows it, and nowhere else."""

from __future__ import annotations

import base64

import pytest

from mesh.errors import Invalid
from mesh.paging import PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, Cursor, page_size, parse_token


@pytest.mark.parametrize("cursor", [Cursor(0, "a"), Cursor(1_795_000_000_000_000, "0192f1f0-8a7b"), Cursor(1, "a:b")])
def test_a_token_leads_back_to_its_row(cursor: Cursor) -> None:
    assert parse_token(cursor.token()) == cursor


def test_a_token_can_stand_in_a_url() -> None:
    assert all(character.isalnum() or character in "-_=" for character in Cursor(2**62, "?>~" * 20).token())


def test_no_token_is_the_first_page() -> None:
    assert parse_token("") is None


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "nonsense!",
        "!" + Cursor(1, "a").token(),
        "ä",
        encoded("no number:id"),
        encoded(":id"),
        base64.b64encode(b"\xff\xfe:id").decode(),
        encoded("9" * 30 + ":id"),  # beyond what a database's column can be compared with
    ],
)
def test_a_token_of_nobodys_making_is_an_invalid_field(token: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_token(token)
    assert [field for field, _ in caught.value.violations] == ["page_token"]


def test_a_page_has_a_default_size_and_a_greatest() -> None:
    assert page_size(0) == PAGE_SIZE_DEFAULT == 50
    assert page_size(7) == 7
    assert page_size(PAGE_SIZE_MAX + 1) == PAGE_SIZE_MAX == 1000
