"""What `scripts/bench` measures, and with what.

orchestrated   the subject: a chain of four calls, naked and as a saga
chain          these four calls, written once for both
noop           participants that answer with constants
ledger         participants with the real machinery, whose handlers do nothing
conductor      the orchestrator, with the chain as its workflow

choreographed  the subject: the shop's way forward by events, by hand and by participants
relay          one service of it, by hand in nats-py
calls          a client of an orchestration
alike          whether the two carry the same messages
endings        a client that publishes its first event, and waits for its last

Shared by all subjects:
plan           what the command line asks for
session        one run: measures what was asked for, and shows it
parts          the processes of a mesh, in a temporary folder
load           so many at a time, for so long
turns          several subjects in turns, and their ratios
figures        medians and ranges over rounds
history        an orchestrator that has run many sagas before
processor      processor time by process
profiles       where it goes inside each
plot           throughput, drawn
"""
