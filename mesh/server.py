"""Servicers as gRPC endpoints.

The generated `add_…_to_server` parses requests before any code of ours runs, and answers nonsense with UNKNOWN and
the parser's own text. So methods are bound from the descriptor here: bytes in, bytes out, and one wrapper for all
that every call needs (admission, trace, parsing, the contract's rules, typed errors, nothing of an exception's text).
Calls that there is no room for are turned away before that, at the door.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mesh import errors, late_answers, registry, telemetry, validation
from mesh.outside import REAL, Outside
from mesh.settings import MESSAGE_BYTES_MAX

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
# What answers a call: a parsed and valid request in; out a message, bytes that are one already, or a status.
Answer: TypeAlias = "Message | bytes | status_pb2.Status"
UnaryCall = Callable[[Message, Context], Awaitable[Answer]]
StreamCall = Callable[[Message, Context], AsyncIterator[Message]]

# Calls wait for grpc.aio to accept them, one after the other. gRPC itself answers those beyond this with CANCELLED,
# which is in doubt; its own limit is a thousand, and as many may come while the loop is busy.
PENDING_MAX = 5_000

OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    (
        "grpc.max_send_message_length",
        MESSAGE_BYTES_MAX * 8,
    ),  # pages and lists; a step's answer is held to the limit below
    # Our clients ping every 10 s; the default limit of 5 min would answer them with GOAWAY too_many_pings.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # With the spread over round_robin this lets new replicas get their share of long-lived channels.
    ("grpc.max_connection_age_ms", 10 * 60_000),
    ("grpc.server.max_pending_requests", PENDING_MAX),
    ("grpc.server.max_pending_requests_hard_limit", PENDING_MAX),
    ("grpc.so_reuseport", 0),  # a second process on the same port is an error, not a silent half of the calls
)

# How long a server that is about to stop serves on after it said so: whoever watches its health goes elsewhere. A call
# that comes while grpc.aio stops may be dropped with CANCELLED, which is in doubt: some in a thousand, without this.
NOTICE_S = 0.2

# How long answers that are given may take to leave, when the server stops.
SENDING_S = 0.2

# Told to callers that are turned away.
RETRY_AFTER_S = 0.2


@dataclass(frozen=True)
class Binding:
    """One method and what answers it.

    `admit` is asked at the door, before the request is so much as received, and may raise Overloaded.
    """

    method: MethodDescriptor
    call: UnaryCall | StreamCall
    admit: Callable[[], None] = lambda: None


class Admission:
    """Bounds the unary calls that are served at once. Watch streams do not count: they wait, they do not work.

    `with admission:` is a place for one call; it raises Overloaded where there is none, as `admit` does.
    """

    def __init__(self, calls_max: int) -> None:
        self._calls_max = calls_max
        self._free = calls_max
        self._idle = asyncio.Event()
        self._idle.set()

    def admit(self) -> None:
        """Raises Overloaded where there is no place now."""
        if self._free <= 0:
            raise errors.Overloaded("this process serves as many calls as it can; try again", RETRY_AFTER_S)

    # Not a generator with `contextmanager`, which costs five times as much: every call comes through here.
    def __enter__(self) -> None:
        self.admit()
        self._free -= 1
        self._idle.clear()

    def __exit__(self, *_: object) -> None:
        self._free += 1
        if self._free == self._calls_max:
            self._idle.set()

    async def idle(self) -> None:
        """Returns once no unary call is being served."""
        await self._idle.wait()


class Server:
    """A gRPC server with health and reflection. It is SERVING between `start` and `stop`."""

    def __init__(self, listen: str, *, calls_max: int, drain_s: float, outside: Outside = REAL) -> None:
        late_answers.tell_in_a_line()
        self._server = outside.server(OPTIONS)
        self._listen = listen
        self._drain_s = drain_s
        self._admission = Admission(calls_max)
        self._health = health.aio.HealthServicer()
        self._services: list[str] = []
        self.address = ""

    def add(self, service: ServiceDescriptor, bindings: list[Binding]) -> None:
        """Serves a service. Methods without a binding answer UNIMPLEMENTED."""
        self._server.add_generic_rpc_handlers((_Door(service, bindings, self._admission),))
        self._services.append(service.full_name)

    async def start(self) -> None:
        """Binds the port and serves; raises OSError where the port is taken."""
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        try:
            port = self._server.add_insecure_port(self._listen)
        except RuntimeError:
            raise OSError(
                f"cannot listen on {self._listen}: the port is taken, or the host is no address of this machine"
            ) from None
        host = self._listen.rpartition(":")[0]
        self.address = f"{host}:{port}"
        await self._server.start()
        for name in ("", *self._services):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self) -> None:
        """Says NOT_SERVING, then refuses new calls, lets those under way finish for a while, then ends.

        Open streams do not hold it up: a watcher watches again, elsewhere or later.
        """
        await self._health.enter_graceful_shutdown()
        await asyncio.sleep(min(NOTICE_S, self._drain_s))
        draining = asyncio.create_task(self._server.stop(self._drain_s), name="drain")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_s):
                await self._admission.idle()
        await self._server.stop(SENDING_S)
        await draining


class _Door(grpc.GenericRpcHandler):
    """Shows each call of a service to what serves it, or turns it away.

    gRPC asks here as soon as it has a call's headers, and does not wait for the request of one that is turned away. So
    that takes half to two thirds of the processor time that it takes where calls are served; and under overload, what
    the many take who are turned away, the few have less who are served.

    Whoever comes in may still find the last place taken meanwhile, and is told so by what serves the call.
    """

    def __init__(self, service: ServiceDescriptor, bindings: list[Binding], admission: Admission) -> None:
        self._domain = service.full_name.rpartition(".")[0]
        self._methods: dict[str, tuple[list[Callable[[], None]], Any]] = {}
        handler: Any
        for binding in bindings:
            if binding.method.server_streaming:
                admits = [binding.admit]
                handler = grpc.unary_stream_rpc_method_handler(_streaming(binding, self._domain))
            else:
                admits = [admission.admit, binding.admit]
                handler = grpc.unary_unary_rpc_method_handler(_unary(binding, self._domain, admission))
            self._methods[f"/{service.full_name}/{binding.method.name}"] = admits, handler

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """As gRPC asks for it: what serves this call; None where it is another service's."""
        admits, handler = self._methods.get(handler_call_details.method, ((), None))
        try:
            for admit in admits:
                admit()
        except errors.Overloaded as error:
            return _turning_away(error.message, error.retry_after_s, self._domain)
        return handler


@functools.lru_cache
def _turning_away(message: str, retry_after_s: float, domain: str) -> Any:
    status = errors.Overloaded(message, retry_after_s).status(domain)
    answer = errors.grpc_code(status), status.message, errors.trailing_metadata(status)

    async def refuse(_: object, context: Context) -> None:
        await context.abort(*answer)

    # As if it streamed its requests: of such a call gRPC receives none that is not asked for.
    return grpc.stream_unary_rpc_method_handler(refuse)


def _unary(binding: Binding, domain: str, admission: Admission) -> Callable[[bytes, Context], Awaitable[bytes]]:
    request_class = registry.message_class(binding.method.input_type.full_name)

    async def serve(data: bytes, context: Context) -> bytes:
        try:
            with admission:
                request = _receive(request_class, data, context)
                answer = await binding.call(request, context)  # type: ignore[misc]  # a unary binding, by its descriptor
                if isinstance(answer, bytes):
                    return answer
                if isinstance(answer, Message) and not isinstance(answer, status_pb2.Status):
                    return answer.SerializeToString()
                status = answer
        except Exception as error:
            status = status_for(error, domain, binding.method.full_name)
        await _abort(context, status)
        raise AssertionError("abort returns never")

    return serve


def _streaming(binding: Binding, domain: str) -> Callable[[bytes, Context], AsyncIterator[bytes]]:
    request_class = registry.message_class(binding.method.input_type.full_name)

    async def serve(data: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            request = _receive(request_class, data, context)
            async for message in binding.call(request, context):  # type: ignore[union-attr]
                yield message.SerializeToString()
            return
        except Exception as error:
            status = status_for(error, domain, binding.method.full_name)
        await _abort(context, status)

    return serve


def _receive(request_class: type[Message], data: bytes, context: Context) -> Message:
    metadata = dict(context.invocation_metadata() or ())
    telemetry.enter_trace(str(metadata.get(telemetry.TRACEPARENT, "")))
    request = validation.parse(request_class, data)
    validation.validate(request)
    return request


async def _abort(context: Context, status: status_pb2.Status) -> None:
    await context.abort(errors.grpc_code(status), status.message, errors.trailing_metadata(status))


def status_for(error: Exception, domain: str, method: str) -> status_pb2.Status:
    """What a caller is told of an error: all of ours, nothing of anybody else's."""
    if isinstance(error, errors.MeshError):
        return error.status(domain)
    log.exception("%s failed", method, exc_info=error)
    hidden = errors.MeshError("internal error; the log of the service says more", reason="INTERNAL")
    return hidden.status(domain)


def bind(servicer: object, service: ServiceDescriptor) -> list[Binding]:
    """Bindings for a servicer whose methods are all ordinary grpc.aio handlers."""
    return [bound(servicer, method, getattr(servicer, method.name)) for method in service.methods]


def bound(servicer: object, method: MethodDescriptor, call: UnaryCall | StreamCall) -> Binding:
    """A method, what answers it, and the servicer's `admit_Method`, where it has one."""
    admit = getattr(servicer, f"admit_{method.name}", None)
    return Binding(method, call, admit) if admit else Binding(method, call)
