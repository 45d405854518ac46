"""A cell of a sweep ends with the sweep that started it, however that one ended, kill -9 included.

The sweep keeps one end of a pipe that is the cell's stdin and writes nothing: when the last holder
of that end is gone, the cell reads the end of the file. What a cell has finished is kept, and the
same sweep goes on from there.
"""

import os
import sys
import threading

CELL = "EARLYEXIT_SUPERB_CELL"  # the environment variable that tells a process that it is a cell


def end_with_sweep() -> None:
    """Where this process is a cell of a sweep: end when the sweep has ended."""
    # not for the processes that this one starts
    if os.environ.pop(CELL, None):
        threading.Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    while os.read(0, 1):
        pass
    print("\nthe sweep that started this cell has ended, so it ends, too", file=sys.stderr)
    os._exit(130)
