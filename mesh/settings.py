"""What can be set from outside: environment variables ENSEMBLE_*, e.g. ENSEMBLE_DATA or ENSEMBLE_NATS_URL."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

# NATS takes messages of 1 MiB unless told otherwise, headers included, and ends the connection of whoever sends more,
# for good. So the stream takes a little less: what is in it has room for what a dead letter says of it.
EVENT_BYTES_MAX = 992 * 1024
# A step has to fit both transports, and an event can carry a request and a response: half of it each, and the headers.
MESSAGE_BYTES_MAX = 480 * 1024

DAY_S = 24 * 3600
# How long the stream keeps events. What a ledger knows of a saga has to outlive them: a consumer that is made anew gets
# them all again, and only the ledger says that their steps are done.
EVENTS_KEPT_S = 7 * DAY_S
# How long dead letters are kept; a person may put one back until then.
DEAD_LETTERS_KEPT_S = 30 * DAY_S

# Who logs in where, in a URL that is shown.
_PASSWORD = re.compile(r"://\S*@")


class Settings(BaseSettings):
    """The settings of every process of a mesh. Units stand last in the names."""

    model_config = SettingsConfigDict(env_prefix="ENSEMBLE_")

    data: Path = Field(Path(".ensemble"), description="folder of the mesh's databases, logs and addresses")
    contracts: str = Field("shop", description="generated packages whose services make up the mesh, by comma")
    database_url: str = Field(
        "", description="postgresql://USER:PASSWORD@HOST:PORT/DATABASE of all parts; empty: SQLite files in `data`"
    )
    database_connections_max: int = Field(
        8, gt=0, description="connections of one process to PostgreSQL, which as shipped allows 100 in all"
    )
    nats_url: str = Field("", description="a broker elsewhere; empty: the one that `ensemble up` started")
    addresses: dict[str, str] = Field(
        {}, description='services elsewhere, as JSON: {"inventory": "dns:///inventory:50051"}'
    )
    listen: str = Field("127.0.0.1:0", pattern=r"^.+:\d+$", description="HOST:PORT where this process serves gRPC")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="how much is logged")

    call_timeout_s: float = Field(
        10.0, gt=0, description="how long one call of a step may take, where its contract is silent"
    )
    retry_ratio: float = Field(
        0.2, ge=0, le=1, description="what part of the first tries at a participant may be tried again at once"
    )
    circuit_failures: int = Field(
        5, gt=0, description="calls in a row without an answer, after which a participant is only probed"
    )
    drain_s: float = Field(5.0, ge=0, description="how long a process that was told to stop lets its calls finish")
    calls_max: int = Field(1024, gt=0, description="unary calls that one process serves at once; more are refused")
    events_max: int = Field(256, gt=0, description="events that one service handles at once")
    ack_wait_s: float = Field(10.0, gt=0.5, description="when the broker delivers an event again that nobody answered")
    deliveries_max: int = Field(12, gt=0, description="how often an event is delivered before it is a dead letter")
    stalled_after_s: float = Field(
        15.0, gt=0, description="no progress for so long, and a saga is late, and an order is started again"
    )
    heals_max: int = Field(
        5,
        ge=0,
        le=20,
        description="how often a stalled case is started again, after twice the time each, before it is only reported",
    )
    # Together they say how long the last one waits; the first, how long an answer takes while all of them run. 64
    # nearly keep one machine busy: of 128 a tenth more end, and the slowest answers take half as long again.
    sagas_max: int = Field(64, gt=0, description="sagas that one orchestrator runs at once; more wait")
    sagas_queued_max: int = Field(
        160, ge=0, description="sagas that wait behind those that run; more are refused, and so are orders of any style"
    )
    # By itself, like the streams, since what grows for ever fills a disk; and no earlier than the last of them, since a
    # dead letter that is put back triggers its step again. The services' own tables (orders, payments) are not touched.
    prune_after_s: float = Field(
        DEAD_LETTERS_KEPT_S,
        ge=0,
        description="what is known of a saga is forgotten so long after its end; at least 7 days (604800), or 0: never",
    )

    @field_validator("prune_after_s")
    @classmethod
    def _outlives_events(cls, seconds: float) -> float:
        if 0 < seconds < EVENTS_KEPT_S:
            raise ValueError(f"the stream keeps events for 7 days, so it takes {EVENTS_KEPT_S} seconds or more, or 0")
        return seconds

    @field_validator("database_url")
    @classmethod
    def _is_postgresql(cls, url: str) -> str:
        if url:
            parts = urlsplit(url)
            if parts.scheme != "postgresql" or len(parts.path) < 2 or parts.port == 0:  # `port` raises ValueError
                raise ValueError("it takes postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
        return url

    @property
    def contract_packages(self) -> tuple[str, ...]:
        """The generated packages of the mesh's services."""
        return tuple(name.strip() for name in self.contracts.split(",") if name.strip())


class WrongSetting(ValueError):
    """A setting from outside cannot be used; the text names its variable and what is wrong."""


def load_settings(**given: Any) -> Settings:
    """The settings from the environment, and over them those that are given; raises WrongSetting."""
    try:
        return Settings(**given)
    except ValidationError as error:
        raise WrongSetting("; ".join(_explain(fault) for fault in error.errors())) from None
    except SettingsError as error:  # JSON that is none; its text names the field
        raise WrongSetting(f"{error}: it takes JSON") from None


def load_settings_or_exit() -> Settings:
    """For the mains of the parts: wrong settings end the process with one line and status 2."""
    try:
        return load_settings()
    except WrongSetting as error:
        print(f"wrong setting: {error}", file=sys.stderr)
        sys.exit(2)


def _explain(fault: ErrorDetails) -> str:
    name = "_".join(str(part) for part in fault["loc"]).upper()
    shown = _PASSWORD.sub("://***@", repr(fault["input"]))
    return f"ENSEMBLE_{name}: {fault['msg']}, not {shown}"
