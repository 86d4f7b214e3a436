"""The test kit for workflows: the real engine in the test's own process, over participants that are faked.

    def test_a_declined_card_releases_the_stock() -> None:
        test = WorkflowTest(fulfil_order)
        test.refuse("AuthorizePayment", "CARD_DECLINED")
        saga = test.run(OrderPlaced(order=an_order()))
        assert saga.status == "COMPENSATED"
        assert "ReleaseStock" in test.called

No broker, no port, no thread, no coroutine in the test, and virtual time: a week's sleep, or an hour of retries, takes
milliseconds. Everything is repeatable: the same test does the same at the same (virtual) times.

    kit                what a test uses
    run                one run: the saga, the script beside it, and what fails the test
    saga_result        how a saga ended
    fake_participants  plain functions in the place of services, with a ledger, so that the rules hold
    fake_calls         calls that fail, are late, or lose their answers on the way
    local_engine       the real engine, in this process

(For handlers: services.participant.testing.)
"""

from mesh.errors import Refused
from orchestrator.testing.fake_calls import Endless
from orchestrator.testing.fake_participants import WrongFake
from orchestrator.testing.kit import WorkflowTest
from orchestrator.testing.run import NotEnded
from orchestrator.testing.saga_result import SagaResult, Status

__all__ = ["Endless", "NotEnded", "Refused", "SagaResult", "Status", "WorkflowTest", "WrongFake"]
