"""Commands that are killed at moments nobody chose, until they end by themselves.

A campaign keeps a folder, in which the command has its results, cache and weights. It is killed
(kill -9, its first process alone, as the kernel would), begun again where it was, and every time it
gets to its end what it left is held against an undisturbed run, and it begins from nothing.

A killed process may leave the file that it was writing, and a lock of what was finished in the same
moment. Nobody can tell them from those of a living one, so they go with the first command that
finds them an hour old; the campaign makes them old and asks for that command.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from earlyexit_superb.benchmark.storage import STALE

from helpers import ROOT

ORPHANS = 60.0  # seconds in which what a killed process began must have ended, too
LONGEST = 300.0  # seconds that a run may take, unless an undisturbed one took long
# of a result: what another run of the same has differently
MOOD = ("time_saved", "time_saved_low", "time_saved_high", "rtfx", "peak_mib")


@dataclass
class Campaign:
    """One command under fire.

    Attributes:
        words: of the command, "{}" in them being the folder.
        killed: how often it was; ended: how often it got to its end meanwhile.
    """

    words: Sequence[str]
    folder: Path
    seconds: float = 0.0
    killed: int = 0
    ended: int = 0
    expected: dict = field(default_factory=dict)

    def undisturbed(self) -> None:
        """Learn what is to come out, and how long it takes."""
        start = time.monotonic()
        assert self._ends(self._started()) == 0
        self.seconds, self.expected = time.monotonic() - start, lasting(self.folder)
        assert self.expected, "nothing came out"
        self._from_nothing()

    def run(self, kills: int, seed: int) -> None:
        """Kill it so often, let it end, and compare."""
        draw = np.random.default_rng(seed)
        while self.killed < kills:
            process = self._started()
            try:
                # before it has imported torch there is nothing to lose
                process.wait(draw.uniform(0.2, 1.0) * self.seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                self.killed += 1
                process.communicate(timeout=ORPHANS)  # until all that hold its stdout are gone
                continue
            self._finished(process)
            self._from_nothing()
        self._finished(self._started())

    def _started(self) -> subprocess.Popen:
        words = [word.replace("{}", str(self.folder)) for word in self.words]
        cache = {"EARLYEXIT_SUPERB_CACHE": str(self.folder / "cache"), "OMP_NUM_THREADS": "2"}
        with open(self.folder.with_suffix(".log"), "ab") as log:
            return subprocess.Popen(
                [sys.executable, str(ROOT / "run_benchmark.py"), *words],
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | cache,
            )

    def _ends(self, process: subprocess.Popen) -> int:
        process.communicate(timeout=max(LONGEST, 10 * self.seconds))
        return process.returncode

    def _finished(self, process: subprocess.Popen) -> None:
        self._holds(process)
        if left := unfinished(self.folder):
            for path in left:
                os.utime(path, (time.time() - 2 * STALE,) * 2)
            self._holds(self._started())
        rest = unfinished(self.folder)
        assert rest == [], rest
        self.ended += 1

    def _holds(self, process: subprocess.Popen) -> None:
        """It ends well, and what it leaves is what an undisturbed run leaves."""
        assert self._ends(process) == 0, self.folder.with_suffix(".log").read_text()[-3000:]
        found = lasting(self.folder)
        assert found.keys() == self.expected.keys()
        assert [name for name in found if found[name] != self.expected[name]] == []

    def _from_nothing(self) -> None:
        shutil.rmtree(self.folder)
        self.folder.mkdir()


def lasting(folder: Path) -> dict[str, object]:
    """What a folder's results, heads and weights say, but for times, machine and command."""
    kept: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        if "cache" in path.parts or not path.is_file():
            continue
        if path.suffix in (".safetensors", ".pt") or path.name.endswith(".utterances.csv"):
            kept[str(path.relative_to(folder))] = path.read_bytes()
        elif path.suffix == ".json" and "cell" in (result := json.loads(path.read_text())):
            told = {k: result[k] for k in ("cell", "scores", "depth", "exit_histogram")}
            cost = {k: v for k, v in result["cost"].items() if k not in MOOD}
            kept[str(path.relative_to(folder))] = told, cost, result["layer_weights"]
    return kept


def unfinished(folder: Path) -> list[Path]:
    """What a run must not leave behind."""
    ends = (".part", ".lock", ".log", ".tmp", ".damaged")
    names = [p for p in folder.rglob("*") if p.suffix in ends or "unfinished" in p.name]
    return [*names, *folder.rglob("lock")]
