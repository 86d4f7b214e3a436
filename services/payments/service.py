"""Holds, takes and gives back money: per account, authorised = captured + voided + open."""

from __future__ import annotations

from collections import defaultdict

from google.type.money_pb2 import Money

from services.participant import Call, OutOfOrder, Refused, Step
from services.payments.tables import CAPTURED, METADATA, NANOS, OPEN, VOIDED, authorize, balances, settle
from shop.payments.v1.payments_pb2 import (
    AuthorizePaymentRequest,
    AuthorizePaymentResponse,
    Balance,
    CapturePaymentRequest,
    CapturePaymentResponse,
    GetAccountRequest,
    GetAccountResponse,
    VoidPaymentRequest,
    VoidPaymentResponse,
)
from shop.payments.v1.payments_pb2_grpc import PaymentsServiceServicer

ACCEPTED_TOKEN = "tok_visa"
REFUSALS = {"tok_declined": "CARD_DECLINED", "tok_insufficient_funds": "INSUFFICIENT_FUNDS"}


class PaymentsService(PaymentsServiceServicer):
    """See shop/payments/v1/payments.proto."""

    tables = METADATA

    def AuthorizePayment(self, request: AuthorizePaymentRequest, step: Step) -> AuthorizePaymentResponse:
        """Holds the order's total, if the card is good for it."""
        order = request.order
        if order.payment_token != ACCEPTED_TOKEN:
            raise Refused(REFUSALS.get(order.payment_token, "UNKNOWN_PAYMENT_TOKEN"))
        amount_nanos = order.total.units * NANOS + order.total.nanos
        step.tx.execute(authorize(order.order_id, order.customer_id, order.total.currency_code, amount_nanos))
        return AuthorizePaymentResponse(authorization_id=step.unique_id)

    def VoidPayment(self, request: VoidPaymentRequest, step: Step) -> VoidPaymentResponse:
        """Gives back what is held."""
        step.tx.execute(settle(request.order.order_id, VOIDED))
        return VoidPaymentResponse()

    def CapturePayment(self, request: CapturePaymentRequest, step: Step) -> CapturePaymentResponse:
        """Takes what is held."""
        if not step.tx.execute(settle(request.order.order_id, CAPTURED)).rowcount:
            raise OutOfOrder("nothing is held for this order: AuthorizePayment comes before CapturePayment")
        return CapturePaymentResponse()

    def GetAccount(self, request: GetAccountRequest, call: Call) -> GetAccountResponse:
        """Sums up one customer's account."""
        sums: dict[str, dict[str, int]] = defaultdict(lambda: {OPEN: 0, CAPTURED: 0, VOIDED: 0})
        for row in call.tx.execute(balances(request.customer_id)):
            sums[row.currency][row.state] = int(row.units) * NANOS + int(row.nanos)  # PostgreSQL sums to decimals
        return GetAccountResponse(balances=[_balance(currency, by_state) for currency, by_state in sums.items()])


def _balance(currency: str, by_state: dict[str, int]) -> Balance:
    return Balance(
        authorized=_money(currency, sum(by_state.values())),
        captured=_money(currency, by_state[CAPTURED]),
        voided=_money(currency, by_state[VOIDED]),
        open=_money(currency, by_state[OPEN]),
    )


def _money(currency: str, amount_nanos: int) -> Money:
    units, nanos = divmod(amount_nanos, NANOS)
    return Money(currency_code=currency, units=units, nanos=nanos)
