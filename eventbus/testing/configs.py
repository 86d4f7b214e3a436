"""The configurations of streams and consumers, completed by what was not said. What is not modelled is refused."""

from __future__ import annotations

from typing import Any

_STREAM_DEFAULTS: dict[str, Any] = {
    "name": "",
    "subjects": [],
    "retention": "limits",
    "max_consumers": -1,
    "max_msgs": -1,
    "max_bytes": -1,
    "max_age": 0,
    "max_msgs_per_subject": -1,
    "max_msg_size": -1,
    "discard": "old",
    "discard_new_per_subject": False,
    "storage": "file",
    "num_replicas": 1,
    "no_ack": False,
    "duplicate_window": 120_000_000_000,
    "sealed": False,
    "deny_delete": False,
    "deny_purge": False,
    "allow_rollup_hdrs": False,
}
_CONSUMER_DEFAULTS: dict[str, Any] = {
    "durable_name": "",
    "name": "",
    "deliver_policy": "all",
    "ack_policy": "explicit",
    "ack_wait": 30_000_000_000,
    "max_deliver": -1,
    "filter_subject": "",
    "filter_subjects": [],
    "replay_policy": "instant",
    "max_waiting": 512,
    "max_ack_pending": 1000,
    "num_replicas": 0,
    "idle_heartbeat": 0,
    "inactive_threshold": 0,
}
# What may be set to something else than the default.
_STREAM_MODELLED = {"name", "subjects", "max_age", "max_msg_size", "storage", "duplicate_window"}
_CONSUMER_MODELLED = {
    "durable_name",
    "name",
    "ack_wait",
    "max_deliver",
    "filter_subject",
    "filter_subjects",
    "max_waiting",
    "max_ack_pending",
}


class Refused(Exception):
    """An error of the API."""

    def __init__(self, code: int, err_code: int, description: str) -> None:
        self.answer = {"error": {"code": code, "err_code": err_code, "description": description}}
        super().__init__(description)


def stream_config(asked: dict[str, Any]) -> dict[str, Any]:
    """Of a stream; raises Refused."""
    return _completed(asked, _STREAM_DEFAULTS, _STREAM_MODELLED)


def consumer_config(asked: dict[str, Any]) -> dict[str, Any]:
    """Of a consumer; raises Refused."""
    return _completed(asked, _CONSUMER_DEFAULTS, _CONSUMER_MODELLED)


def _completed(asked: dict[str, Any], defaults: dict[str, Any], modelled: set[str]) -> dict[str, Any]:
    """A configuration with everything that was not said. NATS takes a zero for nothing said."""
    config = {**defaults, **{key: value for key, value in asked.items() if value}}
    foreign = [key for key in config if key not in modelled and config[key] != defaults.get(key)]
    if foreign:
        raise Refused(500, 0, f"the modelled broker does not know {', '.join(sorted(foreign))} as asked for")
    return config
