"""The books of all services: reads every database of a mesh, stopped or live, and says whether they add up.

    reading    opens the databases of a mesh, each as of one moment
    cases      puts together what all of them say of one saga, saga by saga
    ways       what an ended saga has done and has not, as its contract says
    steps      the ledgers against the contract
    tables     the tables of the services against their ledgers
    orders     orders against what they brought about
    sagas      the orchestrator's rows against the ledgers
    totals     stock and money, over all sagas
    judging    all of these put together
    books      what was found

An order that has not ended is in flight: it is listed apart, and of it only that is judged which holds at every moment.
Whether a mesh runs says nothing about that (one that was ended in the middle goes on where it was), so whoever knows
that nothing can be in flight any more says so: `settled`.
"""

from console.audit.books import Books
from console.audit.judging import audit, books_of, settled
from console.audit.reading import NoBooks

__all__ = ["Books", "NoBooks", "audit", "books_of", "settled"]
