"""Ids of replays: ordered by time, wherever they come from."""

from __future__ import annotations

import uuid

from eventbus import replay

NOW_US = 1_790_000_000_000_000


def test_later_ids_are_greater() -> None:
    ids = [replay.mint() for _ in range(100)]
    assert ids == sorted(ids)


def test_an_id_of_ours_is_taken_as_it_is() -> None:
    minted = replay.mint()
    assert replay.ordered(minted, NOW_US) == minted


def test_no_id_stays_none() -> None:
    assert replay.ordered("", NOW_US) == ""


def test_a_foreign_id_becomes_one_of_its_messages_time_the_same_at_every_delivery() -> None:
    foreign = "ffffffff-ffff-4fff-bfff-ffffffffffff"
    made = replay.ordered(foreign, NOW_US)
    assert made == replay.ordered(foreign, NOW_US)
    assert made != replay.ordered("another", NOW_US)
    assert uuid.UUID(made).version == 7
    assert made < replay.ordered(foreign, NOW_US + 2_000) < replay.mint()
