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
pauses           SIGSTOP, past leases and ack waits
rolling_restart  SIGTERM of one part after the other
broker_restart   nats-server is started again
broker_loss      it loses a consumer, the stream, its disk
network          bad links, by a TCP proxy (proxy)
power_cut        what was not synced is gone, on a disk of its own (disk)
full_disk        no room for a while, on such a disk
crash_points     a SIGKILL at each point of a saga (mortal_orchestrator)
poison           bad input on both transports; corpus has all of it, memory says who holds how much
overload         five times as many orders as the mesh can take; load sends them
"""
