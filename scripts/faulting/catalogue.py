"""All faults, by name."""

from __future__ import annotations

from scripts.faulting.fault import Fault
from scripts.faulting.kills import Kills

FAULTS: dict[str, type[Fault]] = {fault.name: fault for fault in (Kills,)}
