"""The checks of an upstream, in order."""

from ..contract import Upstream
from ..heartbeat import Heartbeat
from . import exits, states
from .finding import Finding, findings, name_of


def check_upstream(upstream: Upstream) -> list[Finding]:
    """Hold an upstream against the contract, with seconds of noise on the host.

    A check that crashes is a finding, and the rest go on.

    Args:
        upstream: in evaluation mode.
    Returns: a sentence for everything that was checked; all are `ok` where the contract is met.
    """
    found = []
    with Heartbeat(f"check of {upstream.card.name}") as alive:
        for check in (*states.CHECKS, *exits.CHECKS):
            alive.step(name_of(check))
            found += findings(name_of(check), check(upstream))
    return found
