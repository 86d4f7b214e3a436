"""A deterministic simulation of the whole mesh, in one process and in virtual time.

The processes run what real ones run: the engine, the participants, the reactor, the outbox, the tracker, the handlers,
nats-py's client and the command of each `host`. In the place of what a process reaches beyond itself (mesh.outside)
stand models that fail as a seed says.

    plan        what happens in one simulation; drawing: of a seed; scenarios: what chance alone meets seldom
    trial       runs a plan to its end, mends everything, and reads the books
    customers   who orders, cancels, hands over and adopts; promises: what they were told, and whether it is kept
    troubles    makes what was planned go wrong
    world       the processes, and who starts them again
    process     what a kill, a pause and a crash at any await do; loop: virtual time, each callback in its process
    network, rpc, call, links    between the processes: delays, losses, partitions; gRPC; the broker's connections
    disk        their databases: SQLite, in memory, which outlives whoever opened it
    chance      the time, random numbers and ids, from the seed
    campaign    many seeds, on all cores; shrinking: a failing plan, as small as it goes
    mutants, mutation, teeth     the mesh without one safeguard at a time

The broker is eventbus.testing; a conformance suite holds it against nats-server.
"""
