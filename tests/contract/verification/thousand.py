"""Contracts of a thousand services: many small processes, and one long one."""

from __future__ import annotations

from tests.contract.verification.travel import in_full, travel


def many_processes(services: int) -> dict[str, str]:
    """The small contract again and again, two services each time, in packages of their own."""
    return {
        file.replace("acme", f"acme{number}"): _renamed(text, number)
        for number in range(services // 2)
        for file, text in travel().items()
    }


def _renamed(text: str, number: int) -> str:
    text = text.replace("acme", f"acme{number}").replace('"travel"', f'"travel-{number}"')
    for name in ("trips", "seats"):  # which name the services in the mesh
        text = text.replace(f"acme{number}.{name}.", f"acme{number}.{name}{number}.")
    return text


def one_process(services: int) -> dict[str, str]:
    """One after the other holds something or refuses; the last one decides, and on the way back all give it up."""
    files = {"long/common.proto": _COMMON}
    for number in range(services - 1):
        trigger = f"long.part{number - 1}.v1.Held" if number else "long.common.v1.Begun"
        files[f"long/part{number}.proto"] = _part(number, trigger)
    files["long/end.proto"] = _end(services - 1)
    return files


def _event(name: str, fields: str = "", options: str = "") -> str:
    return f"message {name} {{ option (event) = {{{options}}}; long.common.v1.Case case = 1; {fields}}}\n"


def _rpc(name: str, options: str) -> str:
    return f"  rpc {name}({name}Request) returns (Empty) {{ option (participation) = {{{options}}}; }}\n"


def _file(package: str, imports: list[str], body: str) -> str:
    lines = [f'import "{name}";' for name in ("ensemble/coordination/v1/coordination.proto", *imports)]
    return in_full("\n".join(['syntax = "proto3";', f"package long.{package}.v1;", *lines, body]))


def _requests(*names: str) -> str:
    return "".join(f"message {name}Request {{ long.common.v1.Case case = 1; }}\n" for name in names)


_COMMON = _file(
    "common",
    [],
    "message Case { string case_id = 1 [(ensemble.coordination.v1.saga_id) = true]; }\n"
    + _event("Begun", options='starts: "long"')
    + _event("CalledOff"),
)


def _part(number: int, trigger: str) -> str:
    own = f"long.part{number}.v1"
    body = "message Empty {}\n" + _requests("Hold", "Free") + _event("Held") + _event("Refused") + _event("Freed")
    hold = _rpc("Hold", f'on: "{trigger}" emits: "{own}.Held" refuses: "{own}.Refused"')
    free = _rpc("Free", f'on: "long.common.v1.CalledOff" emits: "{own}.Freed" compensates: "Hold"')
    return _file(f"part{number}", ["long/common.proto"], f"{body}service PartService {{\n{hold}{free}}}\n")


def _end(parts: int) -> str:
    def all_of(event: str, *further: str) -> str:
        names = [f"long.part{number}.v1.{event}" for number in range(parts)]
        return "[" + ", ".join(f'"{name}"' for name in (*names, *further)) + "]"

    body = "message Empty {}\n" + _requests("Decide", "CallOff", "Close")
    body += _event("TooLate") + _event("AlsoTooLate")
    body += _event("Done", options="outcome: OUTCOME_COMPLETED")
    body += _event("Closed", options="outcome: OUTCOME_COMPENSATED")
    last = f"long.part{parts - 1}.v1.Held"
    decide = f'on: "{last}" emits: "long.end.v1.Done" refuses: "long.end.v1.AlsoTooLate" pivot: true'
    refused = all_of("Refused", "long.end.v1.AlsoTooLate")
    call_off = f'on: {refused} emits: "long.common.v1.CalledOff" refuses: "long.end.v1.TooLate" aborts: "Decide"'
    close = f'on: {all_of("Freed")} join: JOIN_ALL emits: "long.end.v1.Closed"'
    methods = _rpc("Decide", decide) + _rpc("CallOff", call_off) + _rpc("Close", close)
    return _file("end", ["long/common.proto"], f"{body}service EndService {{\n{methods}}}\n")
