"""The JetStream API: what is asked under `$JS.API.>`, as far as this project's code and its tests ask it.

What the model does not know is refused as such, with the code 500, so that nobody takes it for an answer of NATS.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from eventbus.testing.configs import Refused, consumer_config, stream_config
from eventbus.testing.consumer import Consumer
from eventbus.testing.stream import Stored, Stream
from eventbus.testing.subjects import collide, matches

PREFIX = "$JS.API."


class Streams(Protocol):
    """The streams that the API works on."""

    streams: dict[str, Stream]

    def now_ns(self) -> int:
        """The time that is written down, in nanoseconds since the epoch."""

    def make_stream(self, config: dict[str, Any]) -> Stream:
        """Makes a stream."""

    def delete_stream(self, name: str) -> None:
        """Deletes a stream with all that it has."""

    def make_consumer(self, stream: Stream, config: dict[str, Any]) -> Consumer:
        """Makes a consumer."""

    def delete_consumer(self, stream: str, name: str) -> None:
        """Deletes a consumer."""


class Api:
    """Answers requests."""

    def __init__(self, broker: Streams) -> None:
        self._broker = broker
        self._verbs: dict[str, Callable[[list[str], dict[str, Any]], dict[str, Any]]] = {
            "STREAM.NAMES": self._stream_names,
            "STREAM.CREATE": self._create_stream,
            "STREAM.UPDATE": self._update_stream,
            "STREAM.INFO": self._stream_info,
            "STREAM.DELETE": self._delete_stream,
            "STREAM.PURGE": self._purge_stream,
            "STREAM.MSG.GET": self._get_message,
            "STREAM.MSG.DELETE": self._delete_message,
            "CONSUMER.DURABLE.CREATE": self._create_consumer,
            "CONSUMER.CREATE": self._create_consumer,
            "CONSUMER.INFO": self._consumer_info,
            "CONSUMER.DELETE": self._delete_consumer,
        }

    def answer(self, subject: str, body: bytes) -> bytes | None:
        """The answer to a request; None for one that nats-server leaves unanswered."""
        tokens = subject[len(PREFIX) :].split(".")
        for length in (3, 2):
            if (verb := self._verbs.get(".".join(tokens[:length]))) is not None:
                try:
                    answer = verb(tokens[length:], json.loads(body) if body else {})
                except Refused as refused:
                    answer = refused.answer
                return json.dumps(answer).encode()
        return None

    # -- streams

    def _stream_names(self, _: list[str], asked: dict[str, Any]) -> dict[str, Any]:
        pattern = asked.get("subject", ">")
        streams = self._broker.streams.items()
        names = [name for name, stream in streams if any(collide(own, pattern) for own in stream.config["subjects"])]
        return {"total": len(names), "offset": 0, "limit": 1024, "streams": names or None}

    def _create_stream(self, names: list[str], asked: dict[str, Any]) -> dict[str, Any]:
        config = stream_config(asked)
        if (stream := self._broker.streams.get(names[0])) is not None:
            if stream.config != config:
                raise Refused(400, 10058, "stream name already in use with a different configuration")
            return self._described(stream)
        self._refuse_overlap(config)
        return {**self._described(self._broker.make_stream(config)), "did_create": True}

    def _update_stream(self, names: list[str], asked: dict[str, Any]) -> dict[str, Any]:
        stream = self._stream(names[0])
        config = stream_config(asked)
        if config["storage"] != stream.config["storage"]:
            raise Refused(500, 10052, "stream configuration update can not change storage type")
        self._refuse_overlap(config)
        stream.config = config
        return self._described(stream)

    def _stream_info(self, names: list[str], asked: dict[str, Any]) -> dict[str, Any]:
        stream = self._stream(names[0])
        info = self._described(stream)
        if (pattern := asked.get("subjects_filter")) is not None:
            counts: dict[str, int] = {}
            for stored in stream.messages.values():
                if matches(pattern, stored.subject):
                    counts[stored.subject] = counts.get(stored.subject, 0) + 1
            info["state"]["num_subjects"] = len({stored.subject for stored in stream.messages.values()})
            info["state"]["subjects"] = counts or None
        return info

    def _delete_stream(self, names: list[str], _: dict[str, Any]) -> dict[str, Any]:
        self._broker.delete_stream(self._stream(names[0]).name)
        return {"success": True}

    def _purge_stream(self, names: list[str], asked: dict[str, Any]) -> dict[str, Any]:
        if asked:
            raise Refused(500, 0, f"the modelled broker cannot purge by {', '.join(sorted(asked))}")
        return {"success": True, "purged": self._stream(names[0]).purge()}

    def _get_message(self, names: list[str], asked: dict[str, Any]) -> dict[str, Any]:
        stored = _find(self._stream(names[0]), asked)
        if stored is None:
            raise Refused(404, 10037, "no message found")
        message: dict[str, Any] = {
            "subject": stored.subject,
            "seq": stored.sequence,
            "time": _time(stored.time_ns),
        }
        if stored.headers:
            lines = "".join(f"{name}: {value}\r\n" for name, value in stored.headers.items())
            message["hdrs"] = base64.b64encode(f"NATS/1.0\r\n{lines}\r\n".encode()).decode()
        if stored.body:
            message["data"] = base64.b64encode(stored.body).decode()
        return {"message": message}

    def _delete_message(self, names: list[str], asked: dict[str, Any]) -> dict[str, Any]:
        stream, sequence = self._stream(names[0]), asked["seq"]
        if sequence > stream.last_sequence:
            raise Refused(500, 10057, "stream store EOF")
        if sequence < stream.first_sequence:
            raise Refused(500, 10057, "no message found")
        if sequence not in stream.messages:
            raise Refused(400, 10043, f"sequence {sequence} not found")
        stream.remove(sequence)
        return {"success": True}

    # -- consumers

    def _create_consumer(self, names: list[str], asked: dict[str, Any]) -> dict[str, Any]:
        stream = self._stream(names[0])
        config = consumer_config(asked["config"])
        if len(names) < 2 or config["durable_name"] != names[1]:
            raise Refused(500, 0, "the modelled broker knows durable consumers only")
        config["name"] = config["durable_name"]
        subjects = config["filter_subjects"]
        if any(collide(one, other) for index, one in enumerate(subjects) for other in subjects[:index]):
            raise Refused(400, 10138, "consumer subject filters cannot overlap")
        consumer = stream.consumers.get(names[1])
        if consumer is None:
            return self._consumer_described(stream, self._broker.make_consumer(stream, config))
        if consumer.config["max_waiting"] != config["max_waiting"]:
            raise Refused(500, 10012, "max waiting can not be updated")
        if consumer.config != config:
            consumer.update(config)
        return self._consumer_described(stream, consumer)

    def _consumer_info(self, names: list[str], _: dict[str, Any]) -> dict[str, Any]:
        return self._consumer_described(*self._consumer(*names))

    def _delete_consumer(self, names: list[str], _: dict[str, Any]) -> dict[str, Any]:
        stream, consumer = self._consumer(*names)
        self._broker.delete_consumer(stream.name, consumer.name)
        return {"success": True}

    # -- what they have in common

    def _stream(self, name: str) -> Stream:
        stream = self._broker.streams.get(name)
        if stream is None:
            raise Refused(404, 10059, "stream not found")
        stream.expire()
        return stream

    def _consumer(self, stream_name: str, name: str) -> tuple[Stream, Consumer]:
        stream = self._stream(stream_name)
        if name not in stream.consumers:
            raise Refused(404, 10014, "consumer not found")
        return stream, stream.consumers[name]

    def _refuse_overlap(self, config: dict[str, Any]) -> None:
        for name, stream in self._broker.streams.items():
            if name == config["name"]:
                continue
            if any(collide(own, other) for own in config["subjects"] for other in stream.config["subjects"]):
                raise Refused(400, 10065, "subjects overlap with an existing stream")

    def _described(self, stream: Stream) -> dict[str, Any]:
        first = stream.messages.get(stream.first_sequence)
        state = {
            "messages": len(stream.messages),
            "bytes": sum(len(stored.body) for stored in stream.messages.values()),
            "first_seq": stream.first_sequence,
            "first_ts": _time(first.time_ns if first else None),
            "last_seq": stream.last_sequence,
            "last_ts": _time(stream.last_time_ns or None),
            "consumer_count": len(stream.consumers),
        }
        now = _time(self._broker.now_ns())
        return {"config": stream.config, "created": _time(stream.created_ns), "state": state, "ts": now}

    def _consumer_described(self, stream: Stream, consumer: Consumer) -> dict[str, Any]:
        state = consumer.state
        return {
            "stream_name": stream.name,
            "name": consumer.name,
            "created": _time(consumer.created_ns),
            "config": {key: value for key, value in consumer.config.items() if value not in ("", [])},
            "delivered": {"consumer_seq": state.next_delivery - 1, "stream_seq": state.delivered_sequence},
            "ack_floor": {"consumer_seq": state.floor_delivery, "stream_seq": state.floor_sequence},
            "num_ack_pending": len(state.pending),
            "num_redelivered": len(state.redelivered),
            "num_waiting": len(consumer.requests),
            "num_pending": consumer.unseen,
            "ts": _time(self._broker.now_ns()),
        }


def _find(stream: Stream, asked: dict[str, Any]) -> Stored | None:
    if (pattern := asked.get("next_by_subj")) is not None:
        following = stream.from_sequence(asked.get("seq") or 1)
        return next((stored for stored in following if matches(pattern, stored.subject)), None)
    if (pattern := asked.get("last_by_subj")) is not None:
        return next((stored for stored in reversed(stream.messages.values()) if matches(pattern, stored.subject)), None)
    return stream.messages.get(asked["seq"])


def _time(time_ns: int | None) -> str:
    """As Go writes it: RFC 3339 in UTC; without a time, that of its zero value."""
    if time_ns is None:
        return "0001-01-01T00:00:00Z"
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
