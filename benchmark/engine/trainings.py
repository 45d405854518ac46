"""Several trainings, as a table of systems needs them: small ones side by side, a core each, then
whatever is left one after the other.
"""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from .. import resume_points
from ..config import short_hash
from ..errors import BenchmarkError
from ..registry import build_upstream, upstream_class
from .several import left
from .threads import small
from .training_record import usual
from .training_start import TrainingConfig, named, settled, train
from .workers import MOST, Ask, at_once, dealt, workers

FOLDER = "trained"  # in a results folder


def finished(
    configs: Mapping[str, TrainingConfig], what: str, beside: Iterable[Ask] | None = None
) -> None:
    """Finish what is not; how far it is goes to stderr.

    Args:
        configs: by name, for people; one whose `weights` are another one's comes after it.
        what: asks for them: "paper".
        beside: other work of the same table, for cores that have no training. Where none is
            missing, nothing of it is done.
    Raises: UsageError about what cannot be trained, before the first of them.
    """
    for one in configs.values():
        settled(one)
    missing_ones = {n: one for n, one in configs.items() if not weights_of(one).exists()}
    _side_by_side(missing_ones, what, beside)
    missing = sum(not weights_of(one).exists() for one in configs.values())
    taken: list[float] = []
    for name, one in configs.items():
        start, is_new = time.monotonic(), not weights_of(one).exists()
        if is_new:
            print(
                f"{what}: training {len(taken) + 1} of {missing}, {name}"
                f"{left(taken, missing - len(taken))}",
                file=sys.stderr,
            )
        train(one)
        taken += [time.monotonic() - start] * is_new


def weights_of(one: TrainingConfig) -> Path:
    """The file that a training ends in."""
    return one.out / f"{named(one.upstream)[0]}.safetensors"


def beneath(
    folder: Path, one: TrainingConfig, start: TrainingConfig | None = None
) -> TrainingConfig:
    """The same training in a folder of its own below `folder`, which no other recipe, corpus or
    start shares, and in which whoever asks for it finds it.

    Args:
        start: the training whose weights it begins with, itself from `beneath`.
    """
    _, _, recipe, options, teachers = settled(one)
    known = usual(recipe)
    numbers = {k: v for k, v in asdict(recipe).items() if k in known and v != known[k]}
    if start is not None:  # by how it is made, which is the same for every seed
        options = options | {"weights": start.out.parent.name}
    heard = [*(str(path.resolve()) for path in one.data), *filter(None, [one.train_set])]
    name = named(one.upstream)[0]
    own = one.upstream if ".py:" in one.upstream else ""  # two files may call a class the same
    told = short_hash([own, numbers, options, one.teacher, teachers, one.task, heard])
    return replace(one, out=folder / f"{name}-{told}" / f"seed-{one.seed}")


# ---- side by side --------------------------------------------------------------------------------


def _side_by_side(
    missing: Mapping[str, TrainingConfig], what: str, beside: Iterable[Ask] | None
) -> None:
    """As many at a time as there are cores. One that fails is left to whoever does the rest, which
    fails again and says why."""
    others = iter(beside or ()) if missing else iter(())
    some = list(islice(others, 1))
    count = at_once(len(missing) + MOST * len(some))
    if count < 2 or not all(_one_core(one) for one in missing.values()):
        return
    begun = {str(weights_of(one)) for one in missing.values()}
    first = [n for n, one in missing.items() if one.settings.get("weights") not in begun]
    second = [name for name in missing if name not in first]
    asked = [[Ask(n, _train, (missing[n],)) for n in wave] for wave in (first, second) if wave]
    with workers(count) as pool, _Bar(list(missing.values()), what) as bar:
        for wave in (*asked[:-1], chain(asked[-1], some, others)):
            for names, _ in dealt(wave, pool):
                bar.show(names)


def _one_core(one: TrainingConfig) -> bool:
    """Whether its model is small enough for one core and several beside it in memory."""
    if one.device != "cpu":
        return False
    options = {**settled(one)[3], **upstream_class(one.upstream).stand_in}
    return small(build_upstream(one.upstream, options))


def _train(_: None, one: TrainingConfig) -> bool:
    """In a worker."""
    try:
        train(one)
    except BenchmarkError:
        return False
    return True


class _Bar:
    """Updates done, as trainings at work tell."""

    def __init__(self, configs: Sequence[TrainingConfig], what: str):
        self.configs, self.what = configs, f"{what}: {len(configs)} trainings"

    def __enter__(self) -> "_Bar":
        from tqdm import tqdm

        style: dict[str, Any] = {"unit": "step", "dynamic_ncols": True, "file": sys.stderr}
        style["smoothing"] = 0  # steps are told many at a time, so the last ones' rate says nothing
        total = sum(settled(one)[2].updates for one in self.configs)
        self.bar = tqdm(total=total, initial=self._done(), desc=self.what, **style)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, names: Sequence[str]) -> None:
        self.bar.set_postfix_str("; ".join(names), refresh=False)
        self.bar.update(self._done() - self.bar.n)

    def _done(self) -> int:
        return sum(resume_points.told(one.out) for one in self.configs)
