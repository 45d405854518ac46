"""Freed memory stays with the process, and what the user says of malloc stays said."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from earlyexit_superb.benchmark.memory import KEPT
from helpers import ROOT

STEPS = """
import resource
import sys

sys.path.insert(0, {root!r})
import run_benchmark
from earlyexit_superb.benchmark.memory import keep_freed

if {keep}:
    keep_freed()
for _ in range(20):
    three = [bytearray(24_000_000) for _ in range(3)]  # written, with zeros
    del three
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def cleared(keep: bool, **environment: str) -> int:
    """Pages that the kernel gave to a process that takes and frees 72 MB twenty times."""
    text = STEPS.format(root=str(ROOT), keep=keep)
    plain = {name: value for name, value in os.environ.items() if name not in KEPT}
    done = subprocess.run(
        [sys.executable, "-c", text], env=plain | environment, capture_output=True, check=True
    )
    return int(done.stdout)


GLIBC = "glibc" in (os.confstr("CS_GNU_LIBC_VERSION") or "")
HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")  # pages of 2 MiB leave few to count


@pytest.mark.skipif(not GLIBC, reason="malloc is not glibc's")
@pytest.mark.skipif(HUGE.exists() and "[always]" in HUGE.read_text(), reason="pages are huge")
def test_freed_memory_is_not_cleared_again():
    kept, given_back = cleared(keep=True), cleared(keep=False)
    assert given_back - kept > 10 * 72_000_000 / os.sysconf("SC_PAGE_SIZE")
    said = {"MALLOC_MMAP_MAX_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072"}
    assert cleared(keep=True, **said) > 2 * kept  # the user's word stays
