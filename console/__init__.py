"""The command line.

main         `ensemble`, put together of its commands
commands     their words: options, arguments, what is printed
supervisor   `ensemble up`: the broker and every part as its own process, started again when it dies
control      `--detach`, `status`, `down`: a mesh that runs elsewhere on this machine
client       connections to the parts of a running mesh
orders       `ensemble order`: places orders and follows them
display      what is printed: live drawing on a terminal, plain lines elsewhere
sagas        `ensemble saga …`: the orchestrator's API
dead_letters `ensemble dead-letters …`: straight from the broker
broker       the connection that this takes
graph        `ensemble graph`: the choreography from the contracts
verification `ensemble verify`: the contracts proved, and the workflows compared with the choreography
audit        `ensemble audit`: the books of all services
comparison   `ensemble compare`: the same orders in each style, side by side
demo         what `scripts/demo` shows
"""
