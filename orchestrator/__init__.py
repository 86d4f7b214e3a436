"""The durable orchestrator.

What a saga is
    workflow       plain `async def`s, by the name of their process; `workflows/` has ours
    saga           what a workflow is given: a gRPC channel whose calls are steps
    waits          durable time, events and children
    journal        what is known of a saga, keyed by what a step is, not by its position
    run            one run of one saga: from where it stands to its end, or to where it has to wait
    no_go          the way back, as the contract says
    reverse        the way back of a process that no pivot decides

How it is journaled
    tables         the tables; `migrations/` makes and changes them
    store          reads and writes them, with checksums
    starts         new sagas, durable before they are acknowledged
    write_behind   all else, in batches
    mailbox        what comes for a saga from outside

How it recovers, and who drives it
    leases         which orchestrator runs which saga, and how one that nobody runs finds somebody
    recovery       the heartbeat and the claimer
    runs           the sagas that are driven here
    admission      how many at once, and how many behind them
    interventions  cancel, retry, adopt, let go
    engine         all of these put together; engine_port is what runs see of it

How it calls
    participants   calls participants until their answers are definite
    asking         one such call: which answers are definite, and what follows from the others
    peer           one participant: its connection, its circuit, its budget
    circuit        sends nothing to a participant that does not answer, until a probe finds it back
    retry_budget   bounds what retries add to a participant's load
    mismatch       in which fields two requests for one step differ

How it is seen
    api            ensemble.orchestrator.v1
    watching       states, for those who watch
    listing        pages of sagas; stalled_listing, of those that do not get on
    picture        a saga as it is shown: what was seen of it, and what will follow
    expectations   what a contract says will follow from what was seen
    tracker        writes what choreographed sagas do into the same tables
    choreography   what such a saga has come to, as a function of its events and dead letters (letters)
    stalled        finds sagas that do not get on; lateness says when that is
    pruning        forgets sagas that ended long ago, with what the ledgers know of them (ledgers)

testing            the test kit for workflows
equivalence        shows that a workflow and its choreography do the same
"""
