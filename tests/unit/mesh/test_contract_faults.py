"""A contract that says what cannot be is refused when it is read, with a text that names the place."""

from __future__ import annotations

import pytest

from mesh.contract import Contract, read_event
from mesh.contract_faults import ContractError
from mesh.identity import NoSagaId
from mesh.registry import UnknownName
from tests.unit.mesh.protofiles import Defined, define


def service_with(participation: str, messages: str = "", request: str = "Request") -> Defined:
    """A service `Faulty` with one method, which says this of itself."""
    return define(f"""
        message Thing {{ string id = 1 [($options.saga_id) = true]; }}
        message Request {{ Thing thing = 1; }}
        message Empty {{}}
        message Happened {{ option ($options.event) = {{}}; Thing thing = 1; }}
        {messages}
        service Faulty {{
          rpc Do({request}) returns (Empty) {{ option ($options.participation) = {{{participation}}}; }}
        }}
    """)


@pytest.mark.parametrize("option", ["compensates", "aborts"])
def test_a_sibling_that_does_not_exist_is_a_fault_of_the_contract(option: str) -> None:
    faulty = service_with(f'{option}: "Undo"')
    with pytest.raises(ContractError, match=r"Faulty\.Do: .*Faulty has no method 'Undo'"):
        Contract([faulty.service("Faulty")])


def test_an_event_that_is_not_marked_as_one_is_a_fault_of_the_contract() -> None:
    faulty = service_with('on: "$package.Thing"')
    with pytest.raises(ContractError, match=r"Thing is used as an event but not marked"):
        Contract([faulty.service("Faulty")])


def test_an_event_that_does_not_exist_is_a_fault_of_the_contract() -> None:
    with pytest.raises(UnknownName, match=r"no message nowhere\.v1\.Missing"):
        Contract([service_with('emits: "nowhere.v1.Missing"').service("Faulty")])


def test_a_participating_request_without_a_saga_id_is_a_fault_of_the_contract() -> None:
    faulty = service_with('on: "$package.Happened"', "message Bare { string id = 1; }", "Bare")
    with pytest.raises(NoSagaId, match="found none"):
        Contract([faulty.service("Faulty")])


def test_a_join_of_requests_with_step_keys_is_a_fault_of_the_contract() -> None:
    keyed = "message Keyed { Thing thing = 1; string part = 2 [($options.step_key) = true]; }"
    faulty = service_with('on: "$package.Happened" join: JOIN_ALL', keyed, "Keyed")
    with pytest.raises(ContractError, match="JOIN_ALL joins once a saga"):
        Contract([faulty.service("Faulty")])


def test_an_event_without_a_saga_id_is_a_fault_of_the_contract() -> None:
    bare = define("message Bare { option ($options.event) = {}; string id = 1; }")
    with pytest.raises(NoSagaId):
        read_event(bare.descriptor("Bare"))
