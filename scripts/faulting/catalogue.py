"""All faults, by name."""

from __future__ import annotations

from scripts.faulting.broker_loss import BrokerLoss
from scripts.faulting.broker_restart import BrokerRestart
from scripts.faulting.crash_points import CrashPoints
from scripts.faulting.fault import Fault
from scripts.faulting.full_disk import FullDisk
from scripts.faulting.kills import Kills
from scripts.faulting.network import Network
from scripts.faulting.overload import Overload
from scripts.faulting.pauses import Pauses
from scripts.faulting.poison import Poison
from scripts.faulting.power_cut import PowerCut
from scripts.faulting.rolling_restart import RollingRestart

_ALL: tuple[type[Fault], ...] = (
    Kills,
    Pauses,
    RollingRestart,
    BrokerRestart,
    BrokerLoss,
    Network,
    PowerCut,
    FullDisk,
    CrashPoints,
    Poison,
    Overload,
)

FAULTS = {fault.name: fault for fault in _ALL}
