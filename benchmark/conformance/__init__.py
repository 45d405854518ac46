"""What a submitted plug-in must pass, in plain sentences: `run_benchmark.py check NAME` prints them
and the tests run them.

    upstream.py   the checks of an upstream: states.py, then exits.py
    task.py       the checks of a task: itself and its corpus, then head.py and scores.py
"""

from .finding import Finding
from .task import check_task
from .upstream import check_upstream

__all__ = ["Finding", "check_task", "check_upstream"]
