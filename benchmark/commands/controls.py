"""`--controls` of table1 and of compare --task: what stands beside the rows to be believed."""

from argparse import ArgumentParser
from collections.abc import Sequence

from ..errors import UsageError, did_you_mean

WEIGHTS = {"random-weights": "random", "random-blocks": "random-blocks"}  # as `weights`, full depth
CONTROLS = ("random", "oracle", *WEIGHTS)


def add_controls(parser: ArgumentParser, default: Sequence[str], named: str) -> None:
    """Args: named: the default, in words."""
    about = f"of {', '.join(CONTROLS)}; default {named}"
    parser.add_argument("--controls", nargs="*", default=list(default), metavar="NAME", help=about)


def split(named: Sequence[str], verb: str) -> tuple[list[str], list[str]]:
    """The controls that are exits of adaptive rows, and the `weights` of those that are full depth.

    Raises: UsageError where one is not known.
    """
    for name in named:
        if name not in CONTROLS:
            raise UsageError(f"{verb}: --controls {name}: {did_you_mean(name, CONTROLS)}")
    dealt = [name for name in named if name not in WEIGHTS]
    return dealt, [WEIGHTS[name] for name in named if name in WEIGHTS]
