"""How much memory the parts of a mesh hold."""

from __future__ import annotations

import subprocess

from mesh.addresses import MeshFile


def resident_mib(mesh: MeshFile) -> dict[str, float]:
    """By part, in MiB; blocks for a moment. Raises OSError where one has just ended."""
    names = {str(part.pid): part.name for part in mesh.parts}
    command = ["ps", "-o", "pid=,rss=", "-p", ",".join(names)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = {names[pid]: int(kib) / 1024 for pid, kib in (line.split() for line in said.splitlines())}
    if len(found) != len(names):
        raise OSError(f"of the parts {', '.join(names.values())} only {', '.join(found)} run")
    return found
