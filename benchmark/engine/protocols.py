"""The recipe of a run: a published protocol, what was changed in it, and which learning rates are
tried.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ..config import number
from ..contract import Protocol, Task
from ..errors import UsageError
from ..registry import as_type_of

SWEEP = "sweep"
OPTIMISERS = ("adam", "adamw")
MOST = 10**12  # of any whole number
# Fields that are younger than rows and heads: at their default they are in no hash, so that what
# was made without them keeps its place.
YOUNGER = ("decay", "sum_lr", "standardise_states", "sum_rows", "exits_together", "outputs")


@dataclass(frozen=True)
class RunProtocol:
    published: Protocol
    protocol: Protocol  # with its changes
    rates: tuple[float, ...]  # one, or in a sweep the grid of which the dev split chooses
    sweep: bool = False

    @property
    def differs(self) -> dict[str, list]:
        """Field -> [published, here]: what makes a row `custom`. A grid matters only where it is
        swept.
        """
        pairs = {
            f.name: [getattr(self.published, f.name), getattr(self.protocol, f.name)]
            for f in fields(self.protocol)
        }
        return {
            name: pair
            for name, pair in pairs.items()
            if pair[0] != pair[1] and (self.sweep or name != "lr_grid")
        }

    @property
    def name(self) -> str:
        """As a row names it. SUPERB keeps everything fixed but the learning rate, which it searches
        for every upstream and task (s3prl issues 120, 360), so a swept row keeps its protocol's
        name, and says that it was swept.
        """
        return "custom" if self.differs else self.protocol.name + ("+sweep" if self.sweep else "")

    @property
    def settings(self) -> dict[str, Any]:
        """Every field that a row's numbers depend on."""
        return _told_apart(self.protocol) | ({"lr": SWEEP} if self.sweep else {"lr_grid": ()})

    @property
    def head(self) -> dict[str, Any]:
        """Every field that a head's numbers depend on, beside its learning rate: a sweep takes up
        the heads of single runs.
        """
        return {
            k: v
            for k, v in _told_apart(self.protocol).items()
            if k not in ("lr", "lr_grid", *self.protocol.at_test)
        }

    @property
    def training(self) -> Protocol:
        """The protocol as training and the dev split see it: without what only the test
        split is scored with.
        """
        return replace(
            self.protocol,
            **{name: getattr(type(self.protocol), name) for name in self.protocol.at_test},
        )

    def sentence(self) -> str:
        """What a custom row differs in, on one line."""
        return f"custom, not {self.published.name}: " + ", ".join(
            f"{k} {_told(was)} -> {_told(now)}" for k, (was, now) in self.differs.items()
        )


def settable(task: Task) -> set[str]:
    """The fields of a task's protocols that --set may name."""
    return {f.name for f in fields(next(iter(task.protocols.values())))} - {"name", "source"}


def run_protocol(
    published: Protocol, given: Mapping[str, Any], lr: str | None = None
) -> RunProtocol:
    """`published` with the fields of --set (each in its own type) and --lr: a number, or "sweep"
    for the protocol's grid.
    """
    if lr is not None and "lr" in given:
        raise UsageError(
            f"--lr {lr} and --set lr={given['lr']} both name the learning rate; leave one of them "
            "out"
        )
    typed = {
        k: as_type_of(
            1 if getattr(published, k) is None else getattr(published, k), v, f"--set {k}"
        )
        for k, v in given.items()
    }
    if lr not in (None, SWEEP):
        typed["lr"] = number(lr, "--lr (unless it is the word sweep)")
    for name, value in typed.items():
        _refuse_value(published, name, value)
    protocol, sweep = replace(published, **typed), lr == SWEEP
    if sweep and not protocol.lr_grid:
        raise UsageError(
            f"protocol {protocol.name} has no grid of learning rates to sweep; give one: --set "
            "lr_grid=1e-2,1e-3,1e-4"
        )
    rates = tuple(dict.fromkeys(protocol.lr_grid)) if sweep else (protocol.lr,)
    if min(rates) <= 0:
        raise UsageError(
            f"a learning rate is above 0, not {min(rates):g}; {protocol.name} has {published.lr:g}"
        )
    return RunProtocol(published, protocol, rates, sweep)


def _refuse_value(published: Protocol, name: str, value: Any) -> None:
    """UsageError for a number that a field cannot have."""
    wanted, own = "", getattr(published, name)
    # a field that is published below 0 means something there (ignore_index=-100)
    least = -MOST if isinstance(own, int) and own < 0 else 0
    numbers = [x for x in (value if isinstance(value, tuple) else (value,)) if _is_number(x)]
    if not all(map(math.isfinite, numbers)):
        wanted = "a finite number"
    elif name in published.above_zero and any(x <= 0 for x in numbers):
        wanted = "above 0"
    elif name == "dropout" and not 0 <= value < 1:
        wanted = "a probability from 0, below 1"
    elif any(isinstance(x, int) and not least <= x < MOST for x in numbers):
        wanted = f"a whole number from {least}, below {MOST:.0e}"
    elif name == "optimiser" and value not in OPTIMISERS:
        wanted = " or ".join(OPTIMISERS)
    if wanted:
        raise UsageError(
            f"--set {name} is {wanted}, not {_told(value)}; protocol {published.name} has "
            f"{_told(own)}"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _told_apart(protocol: Protocol) -> dict[str, Any]:
    default = {f.name: f.default for f in fields(protocol)}
    given = asdict(protocol).items()
    return {k: v for k, v in given if k not in YOUNGER or v != default[k]}


def _told(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_told, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
