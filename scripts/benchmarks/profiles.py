"""Where the time goes inside each part: py-spy looks at its stacks two hundred times a second, from outside.

For each part a file of folded stacks (speedscope.app and flamegraph.pl draw them), and the functions that were found
working most often. Threads that wait are left out; what native code does counts for the Python that called it.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

PY_SPY = Path(sys.executable).with_name("py-spy")
PER_SECOND = 200
SHOWN = 12


def record(folder: Path, pids: Mapping[str, int], seconds: float) -> list[str]:
    """Looks at the parts for so long, all at once; what to tell of it. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name.replace(' ', '-')}.folded" for name in pids}
    spies = [_start(files[name], pid, seconds) for name, pid in pids.items()]
    for spy in spies:
        _, errors = spy.communicate()
        if spy.returncode:
            raise OSError(f"py-spy cannot look at the parts: {errors.strip()}")
    return [line for name, file in files.items() for line in summary(name, file)]


def _start(file: Path, pid: int, seconds: float) -> subprocess.Popen[str]:
    options = (
        "--format",
        "raw",
        "--rate",
        str(PER_SECOND),
        "--duration",
        str(math.ceil(seconds)),
        "--function",
        "--gil",
    )
    return subprocess.Popen(
        [PY_SPY, "record", "--pid", str(pid), "--output", file, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def summary(name: str, file: Path) -> Iterator[str]:
    """Which functions were found working most often in a file of folded stacks."""
    working: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in file.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        working[frames[-1]] += int(count)
        within.update(dict.fromkeys(frames, int(count)))
    total = working.total() or 1
    yield f"{name}: {total} samples, in {file}"
    for title, found in (("itself", working), ("with what it calls", within)):
        yield f"  {title}"
        yield from (f"    {100 * count / total:5.1f} %  {frame}" for frame, count in found.most_common(SHOWN))
