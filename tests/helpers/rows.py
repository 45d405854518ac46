"""A row as a run would write it."""

import json
from dataclasses import replace

from earlyexit_superb.benchmark.metrics import Failure, Ratio
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
        m: Score(of, of - 0.1, of + 0.1, 4, 1, {"silent": 1})
        for m, of in (("pesq", pesq), ("stoi", pesq / 10), ("si_sdr_improvement", pesq))
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
    if counts := more.get("exit_histogram"):
        more["depth"] = sum(k * n for k, n in enumerate(counts)) / sum(counts)
    depth = more.get("depth", 6.0)
    about = {"depth": depth, "exit_histogram": left_at(depth, 5), "cost": cost, "device": "cpu"}
    return Result(cell, scores, **(about | more))


def left_at(depth, utterances):
    """The exits of utterances that all leave at one depth of twelve."""
    return [] if depth is None else [utterances * (k == depth) for k in range(13)]


def kept(folder, values, speakers=True, wholes=None, gmacs=5.0, **more):
    """A row saved with its utterances' PESQ, NaN for a failure, and read back; ten utterances a
    speaker.
    """
    counts = more.pop("exit_histogram", None) or left_at(more.pop("depth", 6.0), len(values))
    at = result(exit_histogram=counts, **more)
    depths = [depth for depth, n in enumerate(counts) for _ in range(n)]
    at = replace(
        at,
        scores={"pesq": _score(values, wholes, speakers)},
        cost=replace(at.cost, gmacs_per_s=gmacs),
        detail={"metrics": [{"name": "pesq", "higher_is_better": True}], **at.detail},
    )
    rows = [
        {"id": f"u{i:03d}", "depth": depths[i]}
        | ({"speaker": _speaker(i)} if speakers else {})
        | {"pesq": None if v != v else float(v)}
        | ({} if wholes is None else {"pesq_of": int(wholes[i])})
        for i, v in enumerate(values)
    ]
    return Result.load(at.save(folder, rows))


def _speaker(i):
    return f"s{i // 10}"


def _score(values, wholes, speakers):
    shares = [1] * len(values) if wholes is None else wholes
    pairs = zip(values, shares, strict=True)
    own = [Ratio(v * w, w) if v == v else Failure("none") for v, w in pairs]
    return Score.over(own, [_speaker(i) for i in range(len(values))] if speakers else ())


def edited(path, change, seal=False):
    """The JSON with `change(raw)`; without its digests, as an older version or a hand leaves it."""
    raw = json.loads(path.read_text())
    if not seal:
        raw["detail"].pop("digests", None)
    change(raw)
    path.write_text(json.dumps(raw))


def first(folder):
    return next(folder.rglob("depth-6*.json"))


def put(*keys, value):
    def change(raw):
        *way, last = keys
        for key in way:
            raw = raw[key]
        raw[last] = value

    return change
