"""Pages of a list, newest first, as AIP-158 has them (https://google.aip.dev/158).

A token names the last row of the page before by (time, id), so pages neither skip nor repeat rows when newer ones
come in between.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from mesh.errors import Invalid

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 1000


@dataclass(frozen=True)
class Cursor:
    """The last row that was seen."""

    time_us: int
    id: str

    def token(self) -> str:
        """The token of the page that follows."""
        return base64.urlsafe_b64encode(f"{self.time_us}:{self.id}".encode()).decode()


def parse_token(token: str) -> Cursor | None:
    """The cursor of a token; None for the first page. Raises Invalid."""
    if not token:
        return None
    try:
        time_us, _, id_ = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode().partition(":")
        return Cursor(_int64(time_us), id_)
    except (binascii.Error, ValueError):
        raise Invalid(
            [("page_token", "is not a token that this method returned; leave it out to begin anew")]
        ) from None


def _int64(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**63:
        raise ValueError("no database takes it")
    return value


def page_size(asked: int) -> int:
    """How many rows a page has."""
    return min(asked or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)
