"""A modelled JetStream broker, for simulation and for tests that want to say what the broker does.

The project's own code and nats-py's run unchanged on it: what is modelled is nats-server and the wire to it, in this
process, on the event loop's time (which may be virtual), with chance drawn from one seeded generator.

    client          nats-py's client without its socket: connects, is cut off, is killed
    link            the policy of a link: delay, loss, copies
    connection      what a link and a partition do to a connection
    broker          the server: who listens, what reaches whom; crash and restart, full and empty disk
    api             the JetStream API
    configs         what it is told of streams and consumers
    stream          messages, and the dedupe window
    consumer        deliveries, acknowledgements, redelivery
    consumer_state  what a consumer knows, and what of it survives a kill
    requests        those who wait for messages, and what is said to them
    host            what these need of the broker
    subjects        which pattern takes which subject

That it does what nats-server 2.15 does is held by tests/integration/broker_conformance, which plays claims on both, and
whatever comes by chance.

Not modelled: clusters, accounts, push and ephemeral consumers, backoff lists, queue groups, purges of a part. The API
refuses what it does not know. A power cut leaves streams and consumers as such, and takes messages and answers only;
acknowledgements of different kinds reach a consumer in the order in which they were sent, and what is published is
there for the next request, where nats-server may take another moment.
"""

from eventbus.testing.broker import ModelledBroker
from eventbus.testing.client import ModelledClient
from eventbus.testing.link import Kind, Link, Perfect

__all__ = ["Kind", "Link", "ModelledBroker", "ModelledClient", "Perfect"]
