"""The command line: `scripts/model`."""

from __future__ import annotations

import argparse
import json
import sys
import time

from scripts.explicit_model.case import STEPS_MAX
from scripts.explicit_model.claims import CLAIMS, Verdict, check
from scripts.explicit_model.rules import ALL, Rule


def main() -> int:
    """Checks what was asked for; 1 where a claim does not hold, or where a rule turns out not to be needed."""
    arguments = _parser().parse_args()
    without = [Rule[name] for name in arguments.without]
    results = []
    good = True
    asked: list[Rule | None] = [*without] or [None, *Rule]
    for taken_out in asked:
        began = time.monotonic()
        print(f"{_title(taken_out)} …", file=sys.stderr, flush=True)
        verdict = check(
            ALL - {taken_out} if taken_out else ALL, arguments.steps, first_only=taken_out is not None and not without
        )
        seconds = time.monotonic() - began
        good &= bool(verdict.broken) == (taken_out is not None)
        results.append(_to_json(taken_out, verdict, seconds))
        if not arguments.json:
            _show(taken_out, verdict, seconds)
    if arguments.json:
        print(json.dumps(results, indent=2))
    return 0 if good else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/model",
        description="Goes through all that can happen to one order: first with all ten rules, when every claim has to "
        "hold; then without each of them, when one must not, with the shortest way to see it.",
    )
    parser.add_argument(
        "--steps",
        type=int,
        choices=range(2, STEPS_MAX + 1),
        default=2,
        help="how many steps there are before the pivot (default: 2; the shop has 3, which takes a while)",
    )
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=[rule.name for rule in Rule],
        metavar="RULE",
        help=f"check all claims without one rule only; may be given more than once: {', '.join(r.name for r in Rule)}",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _title(taken_out: Rule | None) -> str:
    return f"without rule {taken_out.number}: {taken_out.sentence}" if taken_out else "with all ten rules"


def _show(taken_out: Rule | None, verdict: Verdict, seconds: float) -> None:
    visited = ", ".join(f"{count:,} {what}" for what, count in verdict.states.items())
    print(f"{_title(taken_out)}  [{taken_out.name if taken_out else 'ALL'}]")
    print(f"  states: {visited} ({seconds:.1f} s)")
    if taken_out is None:
        for claim in CLAIMS:
            print(f"  {'BROKEN' if verdict.breaks(claim) else 'holds '}  {claim}")
    for broken in verdict.broken:
        print(f"  broken: {broken.claim}")
        for number, move in enumerate(broken.trace, 1):
            print(f"    {number:>2}. {move}")
    if taken_out and not verdict.broken:
        print("  nothing is broken: the rule is not needed, or the model is blind to it")
    print(flush=True)


def _to_json(taken_out: Rule | None, verdict: Verdict, seconds: float) -> dict[str, object]:
    return {
        "without": taken_out.name if taken_out else None,
        "rule": taken_out.number if taken_out else None,
        "states": verdict.states,
        "seconds": round(seconds, 2),
        "broken": [{"claim": one.claim, "trace": list(one.trace)} for one in verdict.broken],
    }


if __name__ == "__main__":
    sys.exit(main())
