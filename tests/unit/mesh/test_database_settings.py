"""Where the database is, as it is set from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.databases import open_database
from mesh.settings import WrongSetting, load_settings
from mesh.sqlite import SqliteDatabase
from tests.unit.mesh.notes import METADATA


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:password@host:5432/shop",
        "postgresql://user@host/shop?sslmode=require",
        "postgresql:///shop?host=/var/run/postgresql",
    ],
)
def test_a_postgresql_url_is_taken_as_it_is(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENSEMBLE_DATABASE_URL", url)
    assert load_settings().database_url == url


@pytest.mark.parametrize(
    "url", ["mysql://u:secret@host/shop", "postgresql://u:secret@host", "postgresql://u:secret@host:many/shop", "shop"]
)
def test_any_other_url_is_told_in_one_line_without_its_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENSEMBLE_DATABASE_URL", url)
    with pytest.raises(WrongSetting) as wrong:
        load_settings()
    assert "ENSEMBLE_DATABASE_URL" in str(wrong.value)
    assert "secret" not in str(wrong.value)
    assert "\n" not in str(wrong.value)


async def test_without_a_url_each_part_has_a_file_in_the_meshs_folder(tmp_path: Path) -> None:
    database = open_database(load_settings(data=tmp_path, database_url=""), "notes", METADATA)
    assert isinstance(database, SqliteDatabase)
    assert database.path == tmp_path / "databases" / "notes.db"
    await database.close()
