"""What can happen in a contract, and what has to have happened before: the ground that several checks stand on.

An event needs certain outcomes: StockReserved needs that ReserveStock succeeded, and all that ReserveStock itself
needs. With several ways to come about, it needs what all of them have in common. So what a thing needs is never too
much, and two things whose needs contradict each other can never both happen in one saga.

Needs are sets of bits in an int, two bits for each method whose outcome is open: it succeeded, it did not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from mesh import identity
from mesh.contract import Contract, Method

NOTHING = 0


class Flow:
    """Reachability and needs, for all processes of a contract at once. Takes time in proportion to the contract."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        # Those without a source are faults of their own; taken to happen, they cause no others.
        named = {name for method in contract.methods.values() for name in method.triggers}
        self._given = {name for name in named if not contract.sources_of(name)}
        self._given |= {name for name, event in contract.events.items() if event.starts}
        self._number = {method.full_name: number for number, method in enumerate(self._open())}
        keyed = [name for name in self._number if identity.step_key_paths(contract.methods[name].descriptor.input_type)]
        # A step with a step_key happens several times in a saga, and may succeed once and refuse once.
        self._exclusive = sum(self._ok(name) for name in self._number if name not in set(keyed))
        self.reached = list(self._reach())
        self._needs_of_events: dict[str, int] = dict.fromkeys(self._given, NOTHING)
        self._needs: dict[str, int] = {}
        self._settle()

    def is_reached(self, method: Method) -> bool:
        """Whether anything can ever trigger a method."""
        return method.full_name in self._needs

    def can_run(self, method: Method) -> bool:
        """Whether a method is reached by something that can happen."""
        return self.is_reached(method) and self._is_possible(self._needs[method.full_name])

    def needs_success(self, method: Method, of: Method) -> bool:
        """Whether a method runs only where another one has succeeded."""
        return bool(self._needs.get(method.full_name, NOTHING) & self._ok(of.full_name))

    def both_can_succeed(self, one: Method, other: Method) -> bool:
        """Whether two methods can succeed in one saga."""
        return self._is_possible(self._after(one, True) | self._after(other, True))

    def impossible_joins(self) -> Iterator[Method]:
        """Joins of events that can each happen, and never together."""
        for method in self.reached:
            # Who is called, or observes, is reached without its join.
            if method.join_all and self._needs_of_events.keys() >= {*method.on}:
                parts = [self._needs_of_events[event] for event in method.on]
                if all(map(self._is_possible, parts)) and not self._is_possible(_union(parts)):
                    yield method

    def _open(self) -> Iterator[Method]:
        for method in self.contract.methods.values():
            if method.refuses or method.pivot or method.aborts:
                yield method

    def _ok(self, method: str) -> int:
        return 1 << (2 * self._number[method]) if method in self._number else NOTHING

    def _is_possible(self, needs: int) -> bool:
        return not needs & (needs >> 1) & self._exclusive

    def _reach(self) -> Iterator[Method]:
        """The methods that can be triggered, in an order in which that can come about."""
        arrived: set[str] = set()
        reached: set[str] = set()
        waiting = deque(self._given)
        ready = deque(method for method in self.contract.methods.values() if _is_called(method))
        while waiting or ready:
            while ready:
                method = ready.popleft()
                if method.full_name not in reached:
                    reached.add(method.full_name)
                    yield method
                    waiting += [event for event in (method.emits, method.refuses) if event]
            if waiting and (event := waiting.popleft()) not in arrived:
                arrived.add(event)
                ready += [one for one in self.contract.triggered_by(event) if not one.join_all or arrived >= {*one.on}]
                ready += self.contract.observing(event)

    def _settle(self) -> None:
        """Needs only ever shrink, so this ends; without circles in the contract, after the second round."""
        changed = True
        while changed:
            changed = False
            for method in self.reached:
                needs = self._needs_to_run(method)
                if needs is None or self._needs.get(method.full_name) == needs:
                    continue
                changed = True
                self._needs[method.full_name] = needs
                for event in (method.emits, method.refuses):
                    if event and event not in self._given:
                        self._needs_of_events[event] = self._in_common(event)

    def _needs_to_run(self, method: Method) -> int | None:
        if _is_called(method):
            return NOTHING
        known = [self._needs_of_events[event] for event in method.on if event in self._needs_of_events]
        ways = [self._needs_of_events[event] for event in method.observes if event in self._needs_of_events]
        if method.join_all and len(known) == len(method.on):
            ways.append(_union(known))
        elif not method.join_all:
            ways += known
        return _intersection(ways) if ways else None

    def _in_common(self, event: str) -> int:
        """What all ways to an event need, of those that are known by now."""
        sources = [method for method in self.contract.sources_of(event) if method.full_name in self._needs]
        outcomes = [(one, True) for one in sources if one.emits == event]
        outcomes += [(one, False) for one in sources if one.refuses == event]
        return _intersection([self._after(method, succeeded) for method, succeeded in outcomes])

    def _after(self, method: Method, succeeded: bool) -> int:
        ok = self._ok(method.full_name)
        needs = self._needs.get(method.full_name, NOTHING) | (ok if succeeded else ok << 1)
        # The aborting method and its pivot are two sides of one decision.
        return needs | (self._ok(method.aborts) << 1 if succeeded and method.aborts else NOTHING)


def _is_called(method: Method) -> bool:
    """Whether a method is called without an event: from a workflow, or to cancel at any time."""
    return bool(method.participates and (method.aborts or not method.triggers))


def _union(parts: list[int]) -> int:
    together = NOTHING
    for needs in parts:
        together |= needs
    return together


def _intersection(ways: list[int]) -> int:
    common = ways[0]
    for needs in ways[1:]:
        common &= needs
    return common
