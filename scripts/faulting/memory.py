"""How much memory the parts of a mesh hold."""

from __future__ import annotations

import subprocess

from mesh.addresses import MeshFile

# What a part may hold more of after a fault than before, or after its first round, when everything has been loaded:
# allocators keep some of what they had.
GROWTH_MIB_MAX = 48.0


def resident_mib(mesh: MeshFile) -> dict[str, float]:
    """By part, in MiB; blocks for a moment. Raises OSError where one has just ended."""
    names = {str(part.pid): part.name for part in mesh.parts}
    command = ["ps", "-o", "pid=,rss=", "-p", ",".join(names)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = {names[pid]: int(kib) / 1024 for pid, kib in (line.split() for line in said.splitlines())}
    if len(found) != len(names):
        raise OSError(f"of the parts {', '.join(names.values())} only {', '.join(found)} run")
    return found


def grown(before: dict[str, float], after: dict[str, float]) -> list[str]:
    """A line for each part that holds much more than before."""
    return [
        f"{part} holds {after[part]:.0f} MiB, and held {held:.0f} before"
        for part, held in before.items()
        if after[part] > held + GROWTH_MIB_MAX
    ]
