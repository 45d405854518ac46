"""The weights of a comparison's systems that come with none: tuned first, each by its own recipe on
the corpus of the table.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path

from ..errors import UsageError
from ..registry import options_of, tasks
from .experiment import RunConfig
from .systems import TRAINED, System
from .training_start import TrainingConfig, preset_of, trainable
from .trainings import FOLDER, beneath, finished, weights_of
from .workers import Ask


def trained(
    systems: Sequence[System],
    likes: Iterable[RunConfig],
    what: str,
    beside: Iterable[Ask] | None = None,
) -> list[tuple[RunConfig, list[System]]]:
    """For each seed its systems with files in the place of TRAINED, made where they are missing, a
    training a seed.

    Args:
        likes: the run of each seed, as `system_runs.parts` takes it; trainings go below its
            folder of results.
        what: asks for them: "compare".
        beside: as `trainings.finished` takes it.
    Raises: UsageError about what has no such training, before the first of them.
    """
    configs: dict[str, TrainingConfig] = {}
    found = []
    for like in likes:
        with_files = []
        for system in systems:
            if system.trained:
                one = training_of(system, like)
                configs[f"{one.out.parent.name}, seed {like.seed}"] = one
                settings = {**system.settings, "weights": str(weights_of(one))}
                system = replace(system, settings=settings)
            with_files.append(system)
        found.append((like, with_files))
    finished(configs, what, beside)
    return found


def training_of(system: System, like: RunConfig) -> TrainingConfig:
    """Its training, in a folder that no other recipe and no other corpus share."""
    training = trainable(system.spec)[1]
    if training.labels != "needed":
        raise UsageError(
            f"--system {system}: weights={TRAINED} is for upstreams that are tuned on transcripts; "
            "name a file, or leave it out"
        )
    preset = training.presets[preset_of(system.spec)]
    # what a row's options and a training's recipe both say: the alphabet
    both = {f.name for f in fields(preset)} & set(options_of(system.spec))
    options = {*training.options, *both} - {"weights"}
    one = TrainingConfig(
        system.spec,
        out=Path(),
        preset=preset_of(system.spec),
        data=(like.data,) if like.data else (),
        task=like.task,
        settings={name: value for name, value in system.settings.items() if name in options},
        seed=like.seed,
        device=like.device,
        train_set=_train_set(like),
    )
    return beneath(like.results / FOLDER, one)


def _train_set(like: RunConfig) -> str:
    """Which training set the heads of the table learn from; "" where a layout has one."""
    task = tasks.get(like.task)
    protocol = task.protocols[like.protocol or (task.default if like.data else task.builtin)]
    return str(like.settings.get("train_set", getattr(protocol, "train_set", "")))
