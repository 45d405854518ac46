"""Which packages import here, which extras that makes usable, and what mends the rest.

Each package is imported in a process of its own: a broken one may end the process.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from ..extras import BUILTIN, CORE, EXTRAS, install, tested
from .parser import Parser

KNOWN = (  # what the failure says -> what it is, and pip's arguments that mend it; each was met
    (
        r"different CUDA versions|libc10_cuda|libtorch_cuda|undefined symbol|libcudart",
        "torch and torchaudio were built for different CUDA versions or torch releases",
        ("torch", "torchaudio"),
    ),
    (
        r"pkg_resources",
        "setuptools 82 and later have no pkg_resources, which torchmetrics 0.11 (asteroid's pin) "
        "imports",
        ("setuptools",),
    ),
    (
        r"set_audio_backend|sox_effects",
        "s3prl calls what torchaudio 2.9 and later no longer have; this project's own use of s3prl "
        "is shimmed, in your own code call earlyexit_superb.benchmark.s3prl_compat.s3prl_shim() "
        "first",
        (),
    ),
    (
        r"HfFolder|Repository",
        "s3prl's runner needs a huggingface_hub older than 1.0; this project does not use it",
        (),
    ),
    (
        r"numpy.dtype size changed|_ARRAY_API|numpy.core.multiarray",
        "a package was compiled for another numpy",
        ("numpy",),
    ),
    (r"sndfile", "libsndfile is missing", ("soundfile",)),
)


def examine() -> int:
    """Print a line a package, grouped by extra; 3 when the built-in defaults cannot run, else 0."""
    modules = [*CORE, *(module for extra in EXTRAS.values() for module in extra.modules)]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        said = dict(zip(modules, threads.map(failure, modules), strict=True))
    versions = found()
    print(
        f"python {sys.version.split()[0]}"
        + (": too old, 3.10 or later is needed" if sys.version_info < (3, 10) else "")
    )
    print(f"{'ok' if shutil.which('git') else 'missing':9} git (the commit in each result)")
    usable = {}
    for name, purpose, own in (
        ("", "the core: every verb", CORE),
        *((n, e.purpose, e.modules) for n, e in EXTRAS.items()),
    ):
        usable[name] = not any(said[module] for module in own)
        verdict = "usable" if usable[name] else f"not usable; run: {install(name)}"
        print(f"{f'[{name}] ' if name else ''}{purpose}: {verdict}")
        for module, distribution in own.items():
            print(_line(distribution, versions.get(module.split(".")[0], ""), said[module]))
    lacking = [name for name in BUILTIN if not usable[name]]
    if lacking or not usable[""]:
        print(f"the built-in defaults cannot run here; run: {install(','.join(BUILTIN))}")
        return 3
    return 0


def _line(distribution: str, version_found: str, said: str) -> str:
    """What is said of one package; indented below it, what mends it."""
    if not said:
        return f"  ok       {version_found or distribution}"
    if not version_found:
        source = f": {compiler()}" if distribution == "pesq" else ""
        return f"  missing  {distribution}{source}"
    meaning, fix = diagnose(said, distribution)
    return f"  BROKEN   {version_found}: {meaning}\n           it says: {said}" + (
        f"\n           run: {fix}" if fix else ""
    )


def command(argv: Sequence[str]) -> int:
    Parser(
        prog="run_benchmark.py doctor",
        description="Find out what does not import here, and say how to mend it.",
        example="run_benchmark.py doctor",
    ).parse_args(argv)
    return examine()


def diagnose(said: str, distribution: str) -> tuple[str, str]:
    """(what is wrong, the command that mends it or "") from the last line of a failed import."""
    for pattern, meaning, wanted in KNOWN:
        if re.search(pattern, said):
            return meaning, f"pip install --force-reinstall {tested(*wanted)}" if wanted else ""
    if "No module named" in said:
        return "a package it imports is not installed", f"pip install {tested(distribution)}"
    return (
        "an import failure this program does not know",
        f"pip install --force-reinstall {tested(distribution)}",
    )


def compiler() -> str:
    """Whether pesq, which comes as source alone, could be built here."""
    wanted = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    there = {
        "a C compiler": shutil.which(wanted.split()[0]),
        "Python's headers": Path(sysconfig.get_path("include"), "Python.h").is_file(),
    }
    lacking = [what for what, is_there in there.items() if not is_there]
    if lacking:
        return (
            f"pip builds it from C source, and {' and '.join(lacking)} cannot be found here "
            "(Debian and Ubuntu: apt install gcc python3-dev)"
        )
    return "pip builds it from C source, and what that takes is here"


def failure(module: str) -> str:
    """ "" when `module` imports in a fresh process, else the last line it says."""
    if find_spec(module.split(".")[0]) is None:
        return f"No module named {module!r}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import {module}"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return lines[-1] if done.returncode else ""


def found() -> dict[str, str]:
    """Top-level module -> the installed distributions that own it: s3prl has two, with one name."""
    return {
        module: " and ".join(f"{name} {version(name)}" for name in sorted(set(names)))
        for module, names in packages_distributions().items()
    }
