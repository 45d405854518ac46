"""A row as a run would write it."""

from earlyexit_superb.benchmark.report.result import Cell, Cost, Result, Score


def result(upstream="u", exit="full", seed=0, pesq=2.0, knob=None, value=None, span=None, **more):
    cell = Cell(
        upstream,
        "abc",
        "se",
        1,
        "mini",
        "12345678",
        "mini",
        "ffff",
        exit,
        True,
        knob,
        value,
        span,
        seed,
    )
    scores = {
        m: Score(pesq, pesq - 0.1, pesq + 0.1, 4, 1, {"silent": 1})
        for m in ("pesq", "stoi", "si_sdr_improvement")
    }
    cost = Cost(
        gmacs_per_s=5.0,
        rtfx=30.0,
        params_m=60.0,
        params_all_m=95.0,
        reference=upstream,
        macs_saved=31.5,
        time_saved=20.0,
        timed=4,
    )
    return Result(
        cell,
        scores,
        **({"depth": 6.0, "exit_histogram": [0, 4], "cost": cost, "device": "cpu"} | more),
    )
