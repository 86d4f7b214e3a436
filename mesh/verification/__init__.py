"""Proves a contract before it runs, from its descriptors alone.

finding      what a check finds
reading      what is wrong with the options themselves
names        names mean one thing each
events       somebody emits every event, and somebody hears it
projections  every message that the mesh builds can be built in full
flow         what can happen, and what has to have happened before
reactions    every reaction can happen, and circles end
paths        walks through a process
pivots       the theory of sagas: compensations before the pivot, no refusal behind it
endings      every path ends in an outcome
proof        all of these together
"""

from mesh.verification.finding import Finding, Severity
from mesh.verification.proof import Proof, prove
from mesh.verification.reading import Collected

__all__ = ["Collected", "Finding", "Proof", "Severity", "prove"]
