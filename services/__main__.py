"""Runs one service: `python -m services inventory`. Settings come from ENSEMBLE_* (mesh.settings)."""

from __future__ import annotations

import importlib
import sys

from mesh import lifecycle
from mesh.lifecycle import Lifecycle
from mesh.settings import Settings
from services import SERVICES
from services.participant.host import host


def main() -> None:
    """The command line."""
    if len(sys.argv) != 2 or sys.argv[1] not in SERVICES:
        print(f"usage: python -m services NAME, where NAME is one of {', '.join(SERVICES)}", file=sys.stderr)
        sys.exit(2)
    name = sys.argv[1]
    module, _, servicer = SERVICES[name].partition(":")

    async def serve(settings: Settings, life: Lifecycle) -> None:
        await host(getattr(importlib.import_module(module), servicer)(), settings, life)

    lifecycle.run_part(name, serve)


if __name__ == "__main__":
    main()
