"""A small explicit-state model of what Ensemble claims: all interleavings of one case, not samples of them.

rules      the ten rules of a participant, each of which can be taken out
case       one order: its states, and all that may happen to it
claims     what must hold, in every state and from every state on
search     goes through all states, breadth first, so that a counterexample is a shortest one

The shop without its observers, with two or three steps before the pivot. Names are those of the contracts and of the
code, which a test compares. No dependencies: it can be read, and run, by itself.
"""
