"""What `scripts/bench` measures, and with what.

orchestrated   the subject: a chain of four calls, naked and as a saga
chain          these four calls, written once for both
calls          a client that makes the calls itself, or asks an orchestrator to
noop           participants that answer with constants
ledger         participants with the real machinery, whose handlers do nothing
conductor      the orchestrator, with the chain as its workflow
history        an orchestrator that has run many sagas before

choreographed  the subject: the shop's way forward by events, by hand and by participants
relay          one service of it, by hand in nats-py
alike          whether the two carry the same messages
endings        a client that publishes its first event, and waits for its last

mixed          the subject: both at once
replicas       the subject: further replicas of every participant
services       the subject: lines of services, each of which sets off the next
line           the contracts of such a line, generated for the run
hop            one part of it

parked         the subject: sagas that wait

Shared by all subjects:
plan           what the command line asks for
session        one run: measures what was asked for, and shows it
parts          the processes of a mesh, in a temporary folder
load           so many at a time, for so long
turns          several subjects in turns, and their ratios
figures        medians and ranges over rounds
processor      processor time by process
profiles       where it goes inside each
plot           throughput, drawn
document       measures anew what docs/performance.md shows
"""
