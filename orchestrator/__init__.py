"""The durable orchestrator.

saga          what a workflow is given: a gRPC channel whose calls are steps
workflow      plain `async def`s, by the name of their process; `workflows/` has ours
journal       what is known of a saga, keyed by what a step is, not by its position
participants  calls participants until their answers are definite
asking        one such call: which answers are definite, and what follows from the others
peer          one participant: its connection, its circuit, its budget
circuit       sends nothing to a participant that does not answer, until a probe finds it back
retry_budget  bounds what retries add to a participant's load
no_go         the way back, as the contract says
engine        runs sagas, and runs them on after a restart
store         the journal's tables; written behind, but for a saga's start
pruning       forgets sagas that ended long ago, with what the ledgers know of them
tracker       writes what choreographed sagas do into the same tables
api           ensemble.orchestrator.v1
testing       the test kit for workflows
"""
