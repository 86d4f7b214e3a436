"""What every process of the mesh shares. It knows no business and none of our other packages.

registry     finds generated messages and services by their full names
contract     reads the coordination options: who is triggered by what, and emits what (contract_faults)
descriptors  contracts from generated packages, or from a descriptor set in a file
places       in which line of which .proto a thing is defined
verification proves a contract before it runs
identity     the saga id, step key and digest of a message
projection   fills requests from events, and events from requests and responses, by field name
validation   the rules of the contracts, on either transport
errors       one error type, as google.rpc.Status with ErrorInfo
database     transactions: the port that every part of the mesh uses
databases    opens the one that the settings name
sqlite       its default backend: a file for each part, group commit
postgres     its backend for parts with replicas
sql          the SQL that both backends understand
server       servicers as gRPC endpoints: health, reflection, deadlines, admission, graceful stop
late_answers tells in a line of answers whose caller is gone
channel      connections to other services
ports        free ports of this machine
addresses    where the services and the broker of this mesh are
backoff      growing, jittered delays
changes      wakes those who wait for a change of one thing
shielding    work that goes on to its end, whoever still waits for it
lifecycle    one process: its tasks, its signals, its end
settings     what can be set from outside
telemetry    structured logs and trace context
clock        what time it is
machine      where something was measured; percentile, of what was measured

For tests and simulation:
virtual_time     an event loop that sleeps a week in microseconds
inline_database  a database without a thread
"""
