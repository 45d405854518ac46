"""What a probe says of rows: differences, which way is better, and that depths match."""

import numpy as np
from earlyexit_superb.benchmark.contract import Metric
from earlyexit_superb.benchmark.report import probe
from earlyexit_superb.benchmark.report.interval import of_mean
from helpers.rows import kept


def alone(folder, depth, gain, upstream, seeds=(0, 1)):
    noise = np.random.default_rng(depth).random((2, 40))
    return [
        kept(folder, noise[s] + gain, upstream=upstream, exit=f"depth {depth} alone", seed=s)
        for s in seeds
    ]


def test_a_gain_is_found_at_the_depth_that_has_it_in_the_direction_of_the_metric(tmp_path):
    model = [r for k, gain in ((6, 0.0), (0, 0.25)) for r in alone(tmp_path, k, gain, "m")]
    random = [r for k in (0, 6, 9) for r in alone(tmp_path, k, 0.0, "m(weights=random)")]
    table = probe.lines(model, random, Metric("pesq", True))
    assert table["depth"].tolist() == [0, 6]  # 9 has no model
    assert np.allclose(table["difference"], [0.25, 0.0])
    assert np.allclose(table["difference"], table["model"] - table["control"])
    assert table["beats"].tolist() == [True, False] and set(table["seeds"]) == {2}
    said = probe.text(table)
    assert (
        "better than m(weights=random) " in said
        and "at depths 0; not at 6" in said
        and "+0.250 [+0.250, +0.250]" in said
    )
    table = probe.lines(model, random, Metric("pesq", False))  # as if it were an error
    assert not table["beats"].any() and "at depths none; not at 0, 6" in probe.text(table)


def test_the_mean_over_seeds_lies_in_its_interval(tmp_path):
    of = alone(tmp_path, 3, 0.0, "m")
    found = of_mean(of, "pesq")
    assert np.isclose(found.mean, np.mean([r.scores["pesq"].mean for r in of]))
    assert found.low < found.mean < found.high
