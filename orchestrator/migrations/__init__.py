"""The versions of the journal's tables, one file each in `versions/`, for Alembic.

A new one: write `versions/NNNN_what_it_does.py` by hand, name it in JOURNAL, change orchestrator.tables; a test runs
all of them on both databases and compares what they make with the tables.
"""

from pathlib import Path

from mesh.migrations import Migrations

JOURNAL = Migrations(scripts=Path(__file__).parent, newest="0003")
