"""`scripts/faults`: real faults on real processes, while orders come; each ends in the audit of the books.

fault     what a fault is; a fault that this machine cannot do says so
ground    the mesh that it is done to, and its moments
orders    the customers beside it
run       one run, and what must hold after it
result    what came of it
report    the report of a long run
logs      what parts logged and nobody handled
catalogue all faults, by name

The faults themselves:
kills            kill -9 of every part
poison           bad input on both transports; corpus has all of it, memory says who holds how much
overload         five times as many orders as the mesh can take; load sends them
"""
