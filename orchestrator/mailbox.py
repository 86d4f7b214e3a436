"""What comes for a saga from outside: events of the choreography, and the ends of its children.

It lies in the table `mail`, by name, and is never consumed (orchestrator.store). Here are the names, and the key under
which those are woken who wait.
"""


def child_mail(saga_id: str) -> str:
    """The name under which a child's end comes to its parent; an event comes under its full name."""
    return f"child:{saga_id}"


def mail_key(saga_id: str) -> str:
    """The key, in mesh.changes, of a saga's box; no saga id has a colon."""
    return f"mail:{saga_id}"
