"""A sign of life of a step that may take for ever, and a limit to it.

The step is somebody else's code in this very process, which nothing can end from outside it: at the
limit the process ends. Every file is written whole and finished work is kept, so that is safe.
"""

import os
import sys
import threading
import time
from types import TracebackType

from .config import number
from .errors import MachineError, UsageError

LIMIT = "EARLYEXIT_SUPERB_LIMIT"  # the environment variable: seconds a step may take, 0 = no limit
AN_HOUR = 3600.0
BEAT = 60.0  # seconds between two signs of life


class Heartbeat:
    """While the block runs, a line on stderr for every minute that one step takes.

    Args:
        what: is stepped through, as in "se train: mine".
        beat: seconds between two lines.
    Raises: UsageError: LIMIT is no number.
    """

    def __init__(self, what: str, beat: float = BEAT):
        self.what, self.beat = what, beat
        self.limit = number(os.environ.get(LIMIT, AN_HOUR), LIMIT)
        if self.limit < 0:
            raise UsageError(f"{LIMIT} is in seconds, 0 for no limit, not {self.limit:g}")
        self._step, self._begun = "", time.monotonic()
        self._taken = 0.0  # seconds of the step, as far as they were looked at
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def step(self, name: str) -> None:
        """A step begins; the one before is over."""
        self._step, self._begun, self._taken = name, time.monotonic(), 0.0

    def _watch(self) -> None:
        wait = min(self.beat, self.limit or self.beat)
        before = time.monotonic()
        while not self._done.wait(wait):
            now = time.monotonic()
            # a process that was stopped for an hour (Ctrl-Z, a suspended job) has worked for none
            self._taken += min(now - max(before, self._begun), 2 * wait)
            before, taken = now, self._taken
            if self.limit and taken >= self.limit:
                print(
                    f"\nerror: {self.what} has been at {self._step} for {taken:.0f} s, the limit "
                    f"of one step; where that is no endless loop, allow more: export {LIMIT}="
                    f"{10 * self.limit:.0f} (0: no limit) and repeat the command",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(MachineError.code)
            if taken >= self.beat:
                sign = f"\nnotice: {self.what} has been at {self._step} for {taken:.0f} s"
                print(sign, file=sys.stderr, flush=True)
