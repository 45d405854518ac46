"""The improvement of SI-SDR where nobody says which estimate is which source.

Two rules: `bss_eval`, the order with the higher mean SIR (Vincent et al., 2006, by mir_eval), as in
s3prl/downstream/separation_stft/expert.py; `si_sdr`, the order with the higher mean SI-SDR, as in
separation_stft2/expert.py.
"""

import itertools
import warnings

import numpy as np

from ...benchmark.errors import require
from ...benchmark.metrics import Failure, si_sdr_improvement


def improvement(
    talkers: np.ndarray, estimates: np.ndarray, mixture: np.ndarray, permutation: str
) -> float | Failure:
    """The improvement of SI-SDR over the mixture in dB, mean over the talkers.

    Args:
        talkers: (2, N); estimates: (2, N) in any order; mixture: (N,).
        permutation: the rule, "bss_eval" or "si_sdr".
    Returns: a Failure where a pair of talker and estimate has no SI-SDR.
    """
    gain = [
        [si_sdr_improvement(talker, estimate, mixture) for estimate in estimates]
        for talker in talkers
    ]
    for value in itertools.chain(*gain):
        if isinstance(value, Failure):
            return value
    mean = {
        order: float(np.mean([gain[t][e] for t, e in enumerate(order)]))
        for order in itertools.permutations(range(len(estimates)))
    }
    return max(mean.values()) if permutation == "si_sdr" else mean[_bss_eval(talkers, estimates)]


def _bss_eval(talkers: np.ndarray, estimates: np.ndarray) -> tuple[int, ...]:
    """The index of each talker's estimate."""
    separation = require("mir_eval.separation", "the permutation of superb-v1", "ss")
    with warnings.catch_warnings():
        # mir_eval 0.8 announces the function's removal; asteroid needs it too
        warnings.simplefilter("ignore", FutureWarning)
        order = separation.bss_eval_sources(talkers, estimates, compute_permutation=True)[3]
    return tuple(int(estimate) for estimate in order)
