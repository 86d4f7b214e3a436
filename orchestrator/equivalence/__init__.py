"""Shows that a workflow and the choreography of its process do the same, whatever their steps answer.

Both are run in this process, over the same sample answers: no network, no database, virtual time. What they did is
compared, path by path: how they end, which effects stay, what each step was asked, what was published.

samples        messages with something in every field
conditions     what is different from path to path, and which paths there are
participants   the services, which answer with samples and refuse where told to
orchestrated   runs a workflow, on the engine's own run
choreographed  runs the choreography, as its events drive it
comparison     compares the two, and tells the first path on which they differ

What it cannot see: a participant has one refusal here, so a workflow that looks at the reason is followed one way
only; and the rules of `buf.validate` are not kept by samples, so they are not checked.
"""

from orchestrator.equivalence.comparison import Comparison, compare

__all__ = ["Comparison", "compare"]
