"""`ensemble compare`: the same orders in each style, side by side, on this machine.

flow       places orders and follows each to its end
faults     what is done to the mesh meanwhile
traffic    how many messages and calls an order takes
coupling   who has to know whom, from the contracts
measuring  the whole run, on a mesh of its own
result     what was measured, and what follows from it; as JSON
table      … in a terminal
plots      … as SVG
report     … as a page of HTML that needs nothing else
"""
