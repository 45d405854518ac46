"""The one timing loop: who runs what in which order, what a device is asked, what is summed."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.engine import timing


def test_everybody_runs_everything_by_turns_and_nobody_is_always_first():
    order = []
    runners = {name: lambda unit, name=name: order.append((name, unit)) for name in "abc"}
    seconds = timing.paired(runners, [10, 20], 3, "cpu", warm_up=30)
    assert order[:3] == [("a", 30), ("b", 30), ("c", 30)]
    timed = order[3:]
    assert sorted(timed) == sorted([(n, u) for n in "abc" for u in (10, 20)] * 3)
    assert all(s.shape == (3, 2) and (s > 0).all() for s in seconds.values())
    assert {timed[i][0] for i in range(0, 18, 3)} == {"a", "b", "c"}
    assert all(len({u for _, u in timed[i : i + 3]}) == 1 for i in range(0, 18, 3))


def test_a_moment_of_load_spoils_one_unit_alone():
    assert timing.summed_median(np.array([[1.0, 2], [9, 2], [2, 9]])) == 2 + 2


def test_marks_give_the_times_between_them():
    timer = timing.EventTimer("cpu")
    for _ in range(3):
        timer.mark()
    assert timer.seconds().shape == (2,) and (timer.seconds() >= 0).all()


def test_memory_and_neighbours_are_measured():
    block = [torch.zeros(1)]
    runner = lambda _: block.append(torch.ones(32 * 2**18).sum())  # noqa: E731  32 MiB, gone again
    peak = timing.peak_memory(runner, None, "cpu")
    assert peak is None or 28 < peak < 60
    share = timing.BackgroundLoad().share()
    assert share is None or share >= 0


@pytest.fixture
def second_gpu(monkeypatch):
    """Stands in for torch.cuda and notes whom each call is about."""
    asked = []

    def about(name, answer=0):
        return lambda device=None: asked.append((name, device)) or answer

    class Event:
        def __init__(self, enable_timing):
            pass

        def record(self, stream):
            asked.append(("record", stream))

        def elapsed_time(self, other):
            return 500.0

    fake = {
        "synchronize": about("synchronize"),
        "get_device_name": about("get_device_name", "GPU"),
        "memory_allocated": about("memory_allocated", 2**20),
        "max_memory_allocated": about("max_memory_allocated", 3 * 2**20),
        "reset_peak_memory_stats": about("reset_peak_memory_stats"),
        "current_stream": lambda device: f"stream of {device}",
        "empty_cache": lambda: None,
        "Event": Event,
    }
    monkeypatch.setattr(timing.torch, "cuda", SimpleNamespace(**fake))
    return asked


def test_the_second_gpu_is_the_one_that_is_asked(second_gpu):
    """Every call names cuda:1; without an argument torch means the current device, cuda:0."""
    assert timing.machine("cuda:1") == "GPU"
    assert timing.peak_memory(lambda _: None, None, "cuda:1") == 2.0
    timing.paired({"a": lambda _: None}, [0], 1, "cuda:1")
    timer = timing.EventTimer("cuda:1")
    timer.mark(), timer.mark()
    assert timer.seconds().tolist() == [0.5]
    assert {device for _, device in second_gpu} == {"cuda:1", "stream of cuda:1"}
    assert {name for name, _ in second_gpu} >= {"synchronize", "memory_allocated", "record"}
