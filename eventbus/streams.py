"""The streams and consumers that must exist, and their settings with the reason for each.

nats-py's `pull_subscribe` neither updates an existing consumer nor passes on all of its settings (nats.py #506,
#603), so everything is provisioned by hand, again after every loss of the broker: its disk may have come back empty.
"""

from __future__ import annotations

from collections.abc import Sequence

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError

from mesh.settings import DEAD_LETTERS_KEPT_S, EVENT_BYTES_MAX, EVENTS_KEPT_S

EVENTS = "EVENTS"
DEAD_LETTERS = "DEAD_LETTERS"
EXHAUSTED = "EXHAUSTED"

_NAME_IN_USE = 10058
_MAX_DELIVERIES = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{EVENTS}"

STREAMS = (
    # Limits retention: work-queue forbids fan-out, interest drops events from before a durable existed.
    # Ledger rows must outlive max_age, or a consumer that is made anew runs old sagas again.
    StreamConfig(
        name=EVENTS,
        subjects=["events.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        max_age=EVENTS_KEPT_S,
        max_msg_size=EVENT_BYTES_MAX,
        duplicate_window=120,
    ),
    StreamConfig(
        name=DEAD_LETTERS,
        subjects=["dead.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        max_age=DEAD_LETTERS_KEPT_S,
        duplicate_window=120,
    ),
    # What the broker says of messages that it delivered too often: see eventbus.exhausted. As old as what it is about.
    StreamConfig(
        name=EXHAUSTED,
        subjects=[f"{_MAX_DELIVERIES}.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        max_age=EVENTS_KEPT_S,
    ),
)


def exhausted_subject(durable: str) -> str:
    """Where the broker says that it delivered a message of a durable consumer of EVENTS for the last time."""
    return f"{_MAX_DELIVERIES}.{durable}"


async def provision_streams(jetstream: JetStreamContext) -> None:
    """Makes the streams, or brings them up to date. Idempotent; any number of processes may do it at once."""
    for config in STREAMS:
        try:
            await jetstream.add_stream(config)
        except BadRequestError as error:
            if error.err_code != _NAME_IN_USE:
                raise
            await jetstream.update_stream(config)


async def provision_consumer(
    jetstream: JetStreamContext,
    durable: str,
    subjects: Sequence[str],
    *,
    ack_wait_s: float,
    deliveries_max: int,
    pending_max: int,
    stream: str = EVENTS,
) -> None:
    """Makes the durable pull consumer of a service, or brings it up to date. Its position is kept."""
    config = ConsumerConfig(
        durable_name=durable,
        filter_subjects=sorted(subjects),
        deliver_policy=DeliverPolicy.ALL,  # a consumer that was lost starts over: the ledgers answer
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ack_wait_s,
        max_deliver=deliveries_max,
        max_ack_pending=pending_max,
    )
    await jetstream.add_consumer(stream, config)
