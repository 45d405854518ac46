"""A row as a run would write it."""

from dataclasses import replace

from earlyexit_superb.benchmark.metrics import Failure
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


def kept(folder, values, speakers=True, wholes=None, gmacs=5.0, **more):
    """A row saved with its utterances' PESQ, NaN for a failure, and read back; ten utterances a
    speaker.
    """
    at = result(**more)
    at = replace(
        at,
        scores={"pesq": Score.over([v for v in values if v == v] or [Failure("none")])},
        cost=replace(at.cost, gmacs_per_s=gmacs),
        detail={"metrics": [{"name": "pesq", "higher_is_better": True}], **at.detail},
    )
    rows = [
        {"id": f"u{i:03d}"}
        | ({"speaker": f"s{i // 10}"} if speakers else {})
        | {"pesq": None if v != v else float(v)}
        | ({} if wholes is None else {"pesq_of": int(wholes[i])})
        for i, v in enumerate(values)
    ]
    return Result.load(at.save(folder, rows))
