"""Typed events on NATS JetStream.

envelope      an event on its way: subject, message id, headers
streams       the streams and consumers that must exist, and their settings with reasons
bus           the connection: publish, and what is published is stored
pull          the pull protocol: asks for messages, survives a broker that goes and comes
consumer      the delivery contract: ack, retry, dead letter
replay        ids of deliberate replays, ordered by time
dead_letters  where messages go that nobody could handle, and what is said of them
dead_letter_reader  reads all of them, as they come
letter_box    finds them for people, and puts them back
exhausted     makes dead letters of messages whose handlers died before they could answer
reader        reads a stream that is nobody's work queue
testing       a modelled broker, for simulation and tests
broker        starts a nats-server of our own, with the settings that durability needs
"""
