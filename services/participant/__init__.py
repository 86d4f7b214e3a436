"""What turns a generated servicer into a participant, on both transports.

    step         what a handler is given
    steps        the rules: what happens when a step is triggered, whichever way, however often
    ledger       why a repeated call is safe: one row for each step
    joins        methods that wait for several events
    outbox       publication after the commit, and again after a crash
    pruning      forgets what nobody can ask for any more
    endpoint     calls in (gRPC)
    reactor      events in (NATS)
    participant  the parts put together
    host         the whole as a process
    local        the whole in a test's own process, for coroutines
    testing      the test kit for handlers

A service needs only what is exported here.
"""

from mesh.errors import AlreadyExists, NotFound, OutOfOrder, Refused
from services.participant.host import Surroundings
from services.participant.step import Call, Step

__all__ = ["AlreadyExists", "Call", "NotFound", "OutOfOrder", "Refused", "Step", "Surroundings"]
