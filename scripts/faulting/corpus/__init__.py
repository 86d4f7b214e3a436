"""Bad inputs, each with a name, and with what must come of it.

wire      bytes that are no message, whatever is expected
samples   messages that break no rule
rules     messages that break one rule of their contract
calls     gRPC: each method with all of these, and what else can be wrong with a call
asking    gRPC: requests that keep every rule and cannot be answered
frames    HTTP/2 below gRPC: bytes on a socket
events    NATS: each event with all of these, and what else can be wrong with a message
"""
