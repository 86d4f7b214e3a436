"""The mesh without one of its safeguards at a time: what the simulation has to notice.

A mutant that no seed catches says that its safeguard is not needed, or that nothing here tests it: which of the two is
settled at the end of this file.
"""

from __future__ import annotations

from scripts.simulation.mutation import Edit, Mutant

STEPS = "services/participant/steps.py"
OUTBOX = "services/participant/outbox.py"
ORDERS = "services/orders/service.py"
TABLES = "services/orders/tables.py"


def _mutant(name: str, without: str, *edits: tuple[str, str, str]) -> Mutant:
    return Mutant(name, without, tuple(Edit(*edit) for edit in edits))


_ALL = (
    # The ledger
    _mutant(
        "no-inbox",
        "a step that is done is not done again",
        (
            STEPS,
            "        row = self._ledger.find(tx, step)\n",
            "        from services.participant.participant import LEDGER\n\n"
            "        done = (LEDGER.c.saga_id == saga_id) & (LEDGER.c.method == method.full_name)\n"
            "        tx.execute(LEDGER.delete().where(done, LEDGER.c.state == State.DONE.value))\n"
            "        row = self._ledger.find(tx, step)\n",
        ),
    ),
    _mutant(
        "ledger-in-its-own-transaction",
        "a step's row is written in the transaction of its handler",
        (
            "services/participant/participant.py",
            "        self.ledger = Ledger(LEDGER, ARRIVALS)\n",
            "        import asyncio\n\n"
            "        class Later(Ledger):\n"
            "            def add(self, tx, row):\n"
            "                later = database.run(lambda tx: Ledger.add(self, tx, row))\n"
            "                asyncio.get_running_loop().create_task(later)\n\n"
            "        self.ledger = Later(LEDGER, ARRIVALS)\n",
        ),
    ),
    _mutant(
        "refusals-not-recorded",
        "a refusal is an outcome, like a success",
        (
            STEPS,
            "        self._ledger.add(tx, row)\n        return self._answer(row, step.callbacks)\n",
            "        if status is None:\n"
            "            self._ledger.add(tx, row)\n"
            "        return self._answer(row, step.callbacks)\n",
        ),
    ),
    _mutant(
        "no-tombstone",
        "a compensation that comes first keeps its step from ever happening",
        (STEPS, 'self._ledger.add(tx, Row(undone, State.TOMBSTONE, None, None, "", None, False, "", None))', "pass"),
    ),
    _mutant(
        "tombstone-with-a-digest",
        "rule 7: a tombstone matches any request",
        (
            STEPS,
            "        if row.state is State.TOMBSTONE:\n",
            "        if row.digest and row.state is State.TOMBSTONE:\n",
        ),
    ),
    _mutant(
        "silent-tombstone",
        "rule 1: a step refused by its tombstone publishes its refusal",
        (STEPS, "        if method.refuses:\n            # Silent", "        if False:\n            # Silent"),
    ),
    _mutant(
        "compensation-of-nothing-fails",
        "rule 2: a compensation always answers OK, whatever became of its step",
        (
            STEPS,
            "        if row is None or row.state is not State.DONE:\n            return method.response_class()\n",
            "        if row is None or row.state is not State.DONE:\n"
            '            raise errors.Unavailable("nothing to compensate")\n',
        ),
    ),
    _mutant(
        "no-re-emission",
        "a trigger for a step that is done has its event emitted again",
        (
            STEPS,
            "replay=newest)\n        row = replace(row, due=self._style(tx, row))\n",
            "replay=newest)\n        row = replace(row, due=None)\n",
        ),
    ),
    # The outbox and the inbox
    _mutant(
        "publish-before-commit",
        "an event is published when its step is committed",
        (
            "services/participant/reactor.py",
            "        answer = await self._database.run(",
            "        class _Undone(Exception): ...\n\n"
            "        def ahead(tx):\n"
            "            raise _Undone(self._steps.arrive(tx, method, handler, event, trigger))\n\n"
            "        try:\n"
            "            await self._database.run(ahead)\n"
            "        except _Undone as undone:\n"
            "            if undone.args[0] is not None and undone.args[0].emission is not None:\n"
            "                await self._outbox.publish(undone.args[0].emission)\n"
            "        answer = await self._database.run(",
        ),
    ),
    _mutant(
        "ack-before-commit",
        "a message is acknowledged when its steps are committed",
        (
            "eventbus/consumer.py",
            "            with self._working(message):\n",
            "            await _answer(message.ack)\n            with self._working(message):\n",
        ),
    ),
    _mutant(
        "no-sweep",
        "what was committed and not published is published later",
        (OUTBOX, "            if not await self._sweep():\n", "            if True:\n"),
    ),
    _mutant(
        "marked-before-published",
        "an event counts as published when the broker has it",
        (
            OUTBOX,
            "        try:\n            await self._publisher.publish(envelope)\n",
            "        self._marks.append(_emission(envelope))\n"
            "        self._mark_soon()\n"
            "        try:\n            await self._publisher.publish(envelope)\n",
        ),
    ),
    _mutant(
        "join-without-dedupe",
        "a join counts each of its events once",
        (
            "services/participant/joins.py",
            "if {*replays, name} == set(method.on) else None",
            "if len(found) + 1 >= len(method.on) else None",
        ),
    ),
    # The pivot
    _mutant(
        "cancelled-behind-the-pivot",
        "what is confirmed cannot be cancelled",
        (
            ORDERS,
            "        if not self._moved(step, PENDING, CANCELLED):\n",
            "        if not (self._moved(step, PENDING, CANCELLED) or self._moved(step, CONFIRMED, CANCELLED)):\n",
        ),
    ),
    _mutant(
        "confirmed-behind-the-pivot",
        "what is cancelled cannot be confirmed",
        (
            ORDERS,
            "        if not self._moved(step, PENDING, CONFIRMED):\n",
            "        if not (self._moved(step, PENDING, CONFIRMED) or self._moved(step, CANCELLED, CONFIRMED)):\n",
        ),
    ),
    _mutant(
        "record-order-changes-the-row",
        "rule 9: RecordOrder never changes an existing row",
        (
            ORDERS,
            '        """Makes the order\'s row, where PlaceOrder has not."""\n',
            '        """Makes the order\'s row, where PlaceOrder has not."""\n'
            "        step.tx.execute(tables.ORDERS.update().where(tables.ORDERS.c.order_id == step.saga_id)"
            ".values(status=PENDING))\n",
        ),
    ),
    # The engine
    _mutant(
        "only-what-was-started",
        "rule 3: every compensatable method is compensated, started or not",
        (
            "orchestrator/no_go.py",
            "        try:\n            response = await self._saga.step(method, request)\n",
            "        if method.compensates and (method.compensates, '') not in self._saga._journal.steps:\n"
            "            event = self._contract.events[method.emits].message_class\n"
            "            return await self.follow(project(event, request))\n"
            "        try:\n            response = await self._saga.step(method, request)\n",
        ),
    ),
    _mutant(
        "loser-does-not-follow",
        "rule 4: who loses at the pivot goes forward",
        (
            "orchestrator/run.py",
            "                self._forward_only = True\n                self._forget_the_cancellation()\n",
            "                self._set(COMPENSATED)\n                return\n",
        ),
    ),
    _mutant(
        "compensates-before-the-pivot-decided",
        "rule 3: compensations are called when the aborting method has answered OK",
        (
            "orchestrator/no_go.py",
            "    try:\n        response = await saga.step(aborting, request)\n",
            "    for compensation in contract.triggered_by(aborting.emits):\n"
            "        await saga.step(compensation, project(compensation.request_class, start))\n"
            "    try:\n        response = await saga.step(aborting, request)\n",
        ),
    ),
    _mutant(
        "start-not-durable",
        "a saga is durable when its start is acknowledged",
        (
            "orchestrator/starts.py",
            "        return await to_its_end(added)\n",
            "        added.add_done_callback(lambda done: done.cancelled() or done.exception())\n        return None\n",
        ),
    ),
    _mutant(
        "the-dead-keep-their-sagas",
        "what a dead orchestrator ran is run on by another, or by its next life",
        ("orchestrator/leases.py", "    for dead in sorted(found - alive):\n", "    for dead in ():\n"),
    ),
    # Healing
    _mutant(
        "no-healing",
        "a case that lost an event is started again",
        (ORDERS, '        surroundings.life.spawn("heal", Healing(surroundings).heal_for_ever())\n', ""),
    ),
    _mutant(
        "only-pending-is-healed",
        "rule 10: the watch covers orders that are confirmed, or cancelled",
        (
            TABLES,
            "    statement = sql.select(*columns).where(_IS_OPEN, ",
            "    statement = sql.select(*columns).where(ORDERS.c.status == OrderStatus.ORDER_STATUS_PENDING, ",
        ),
    ),
    _mutant(
        "replay-without-an-id",
        "a deliberate replay is no duplicate for the broker",
        (
            "services/orders/healing.py",
            "starting_event(stalled.order, replay.mint())",
            "starting_event(stalled.order)",
        ),
    ),
    _mutant(
        "never-resumed",
        "an order whose start is not known to have happened is started",
        (ORDERS, '        surroundings.life.spawn("resume", self._placement.resume_for_ever())\n', ""),
    ),
    _mutant(
        "ends-told-once",
        "ends that the broker lost are told again",
        (ORDERS, '        surroundings.life.spawn("tell", Telling(surroundings).tell_for_ever())\n', ""),
    ),
    # The broker
    _mutant(
        "deaf-after-a-reconnect",
        "a consumer asks again where the broker is silent, or is another",
        (
            "eventbus/pull.py",
            "            if self._connection != self._bus.connections:\n",
            "            if not self._connection:\n",
        ),
        ("eventbus/pull.py", "        if self._wanted and ", "        if False and "),
    ),
    _mutant(
        "failures-acknowledged",
        "an event whose handler failed comes again",
        ("eventbus/consumer.py", "await _answer(lambda: message.nak(delay=delay_s))", "await _answer(message.ack)"),
    ),
)

MUTANTS = {mutant.name: mutant for mutant in _ALL}

# Those that no seed catches, since something else stands behind the safeguard; and what that is.
_SURVIVORS = (
    _mutant(
        "join-consumed",
        "rule 5: arrivals are facts, never consumed",
        (
            "services/participant/joins.py",
            "        return Joined(request, newest) if {*replays, name} == set(method.on) else None\n",
            "        if {*replays, name} != set(method.on):\n"
            "            return None\n"
            "        table = self._statements.renew.table\n"
            "        tx.execute(table.delete().where(table.c.saga_id == saga_id, table.c.method == method.full_name))\n"
            "        return Joined(request, newest)\n",
        ),
    ),
    _mutant(
        "stale-lease-trusted",
        "only the owner writes a saga's journal",
        (
            "orchestrator/write_behind.py",
            "        owned = leases.owned(tx, self._owner, ids)\n",
            "        owned = ids\n",
        ),
    ),
)
SETTLED = {
    "join-consumed": "healing starts a case from its first event, so all events of a join come again, and not one "
    "alone; where one does, as a dead letter that is put back, the rule is needed: scripts/model, and "
    "tests/unit/participant/test_joins_in_any_order.py",
    "stale-lease-trusted": "a heartbeat tells an orchestrator within 0.8 s what was taken from it, and the ledgers let "
    "no step through twice: at stake is the picture of a saga, and none of its effects: "
    "tests/unit/journal/test_fencing.py",
}
ALL = MUTANTS | {mutant.name: mutant for mutant in _SURVIVORS}
