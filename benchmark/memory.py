"""Freed memory stays with the process.

glibc gives a large block back to the kernel as soon as it is freed, and the kernel has to clear
new pages for the next one. A training step frees and asks for the same sizes again and again, so
that a small model's steps can take most of their time there, above all on virtual machines.
"""

import contextlib
import ctypes
import os

# malloc.h; a parameter's name in the environment is what new processes read it by
KEPT = {
    "MALLOC_MMAP_MAX_": (-4, 0),  # blocks with pages of their own, which are never kept: none
    "MALLOC_TRIM_THRESHOLD_": (-1, 2**31 - 1),  # bytes free at the top before any are given back
    "MALLOC_TOP_PAD_": (-2, 64 * 2**20),  # bytes asked for beyond what is needed
}


def keep_freed() -> None:
    """For this process and those it will start; what the environment says of glibc stays said.

    Does nothing where malloc is not glibc's. `malloc_trim` still gives everything back.
    """
    for name, (parameter, value) in KEPT.items():
        if name not in os.environ:
            os.environ[name] = str(value)
            with contextlib.suppress(AttributeError, OSError, TypeError):
                ctypes.CDLL(None).mallopt(parameter, value)
