"""From what is asked for to a training: every name, setting and folder checked, then trained."""

import inspect
import logging
import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path

from ..contract import Recipe, Training, TrainingData, TrainingRun, Upstream
from ..errors import UsageError, did_you_mean
from ..foreign import prints_to_stderr
from ..registry import build_upstream, coerce, tasks, upstream_class, upstreams
from ..storage import writable
from ..training_data import left_out
from ..validation import opened
from . import training_record

log = logging.getLogger("earlyexit_superb")

TEACHERS = "teacher."  # begins the settings that are options of the teacher's constructor


@dataclass(frozen=True)
class TrainingConfig:
    """What a command line says.

    Attributes:
        upstream: "name", "name.tag" or "path/to/file.py:Class".
        out: where weights, checkpoints and logs go; an unfinished training there goes on.
        preset: of the upstream's `Training`; "" = see `preset_of`.
        data: folders of speech; with `task` the one corpus that the task's reader opens.
        task: "" = the data has no labels.
        teacher: another upstream, as `upstream`; "" = none.
        settings: fields of the recipe, options of the upstream, `teacher.` options of the teacher.
        train_set: which training set, where a layout of `task` has several; "" = the task's usual.
    """

    upstream: str
    out: Path
    preset: str = ""
    data: tuple[Path, ...] = ()
    noise: tuple[Path, ...] = ()
    task: str = ""
    teacher: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    device: str = "cpu"
    train_set: str = ""


@prints_to_stderr()
def train(config: TrainingConfig) -> Path:
    """Train what `config` asks for; the finished weights. A finished training is not repeated."""
    training, preset, recipe, options, teachers = settled(config)
    name, tag = named(config.upstream)
    data = _data(config, training)
    teacher = _teacher(config, training, teachers)
    work = config.out / name
    run = TrainingRun(name, tag, options, config.out, work, config.seed, config.device, teacher)
    made = training_record.made_of(preset, recipe, data, run)
    run = replace(run, recipe=training_record.recipe_of(made, run.options))
    writable(config.out)
    with training_record.claimed(run, made, training_record.usual(recipe)) as finished:
        if not finished:
            training.train(recipe, data, run)
    return run.weights


def settled(
    config: TrainingConfig,
) -> tuple[Training, str, Recipe, dict[str, object], dict[str, str]]:
    """How it is trained, the preset, the recipe with its settings, the options of the upstream and
    those of the teacher: all that can be checked before any data is read."""
    plugin, training = trainable(config.upstream)
    preset = config.preset or preset_of(config.upstream)
    if preset not in training.presets:
        raise UsageError(
            f"train {named(config.upstream)[0]} has no preset {preset!r}: "
            f"{did_you_mean(preset, training.presets)} "
            f"(run_benchmark.py train {config.upstream} --list)"
        )
    return training, preset, *_sorted_settings(config, plugin, training.presets[preset])


def trainable(spec: str) -> tuple[type[Upstream], Training]:
    """The class behind a spec, and how it is trained."""
    plugin = upstream_class(spec)
    if plugin.trained_by is None:
        known = ", ".join(trainable_names())
        raise UsageError(f"{spec} has nothing to train; upstreams with a recipe: {known}")
    return plugin, plugin.trained_by


def trainable_names() -> list[str]:
    """The upstreams that can be imported here and have a recipe."""
    return [n for n in upstreams.names() if not upstreams.probe(n) and upstreams.get(n).trained_by]


def named(spec: str) -> tuple[str, str]:
    """A spec's name with its tag, and the tag: the one it names, or the constructor's default."""
    if ".py:" in spec:
        name, tag = spec.rpartition(":")[2].lower(), ""
    else:
        name, _, tag = spec.partition(".")
    parameters = inspect.signature(upstream_class(spec)).parameters
    tag = tag or (parameters["tag"].default if "tag" in parameters else "")
    return f"{name}.{tag}" if tag else name, tag


def preset_of(spec: str) -> str:
    """The preset when none is named: the tag's, else the published one, else the only one."""
    presets, tag = trainable(spec)[1].presets, named(spec)[1]
    for preset in (tag, "paper", *(presets if len(presets) == 1 and not tag else ())):
        if preset in presets:
            return preset
    raise UsageError(
        f"train {spec}: no preset was made for it; see what there is (run_benchmark.py train "
        f"{spec} --list) and name one: --preset {' or '.join(presets)}"
    )


def _sorted_settings(
    config: TrainingConfig, plugin: type[Upstream], recipe: Recipe
) -> tuple[Recipe, dict[str, object], dict[str, str]]:
    """The recipe with its settings, the options of the upstream, those of the teacher."""
    who = f"train {config.upstream}"
    recipe_fields = {f.name: f for f in fields(recipe) if f.name != "source"}
    signature = inspect.signature(plugin).parameters
    options = {name: signature[name] for name in plugin.trained_by.options}
    mine, teachers = {}, {}
    for key, value in config.settings.items():
        if key.startswith(TEACHERS):
            teachers[key.removeprefix(TEACHERS)] = value
        else:
            mine[key] = value
    typed = coerce(mine, {**options, **recipe_fields}, who)
    changed = {k: v for k, v in typed.items() if k in recipe_fields}
    for key, value in changed.items():
        _check_number(recipe_fields[key], value, who)
    if changed:
        changed["source"] = f"{recipe.source}; given here: {', '.join(sorted(changed))}"
    return replace(recipe, **changed), {k: v for k, v in typed.items() if k in options}, teachers


def _check_number(field: Field, value: object, who: str) -> None:
    """No number is negative or not finite, and a count is 0 where that says something."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    count = isinstance(value, int) and not field.metadata.get("zero", not field.default)
    if not math.isfinite(value) or value < 0 or (count and value < 1):
        raise UsageError(
            f"{who}: {field.name} is {'at least 1' if count else 'a number from 0 on'}, not {value}"
        )


def _data(config: TrainingConfig, training: Training) -> TrainingData:
    who = f"train {config.upstream}"
    if config.task and training.labels == "unused":
        raise UsageError(f"{who} learns from speech without labels; leave out --task {config.task}")
    if not config.task:
        if training.labels == "needed":
            raise UsageError(
                f"{who} learns from a labelled corpus; say which: --task asr --data DIR"
            )
        if not config.data:
            raise UsageError(f"{who} learns from speech; name folders of it: --data DIR ...")
        for folder in config.data:
            if Path(folder).is_dir() and (names := left_out(folder)):
                log.warning(
                    f"{who} does not hear {', '.join(names)} of {folder}: dev and test sets"
                )
        return TrainingData(config.data, config.noise)
    if len(config.data) > 1:
        raise UsageError(
            f"{who}: --task {config.task} reads one corpus, not {len(config.data)}; put several "
            "into one manifest: run_benchmark.py data prepare --help"
        )
    task, folder = tasks.get(config.task), next(iter(config.data), None)
    protocol = task.protocols[task.default if config.data else task.builtin]
    if config.train_set:
        protocol = replace(protocol, train_set=config.train_set)
    # whether transcripts can be written, and in so few frames, is asked of what learns them
    corpus = opened(replace(task, check=None), folder, protocol)
    return TrainingData((), config.noise, task, corpus)


def _teacher(
    config: TrainingConfig, training: Training, options: Mapping[str, str]
) -> Upstream | None:
    who = f"train {config.upstream}"
    if config.teacher and training.teacher == "unused":
        raise UsageError(f"{who} has no teacher; leave out --teacher {config.teacher}")
    if not config.teacher:
        if training.teacher == "needed":
            raise UsageError(f"{who} learns from another upstream; say which: --teacher hubert")
        if options:
            raise UsageError(
                f"{who}: {TEACHERS}{next(iter(options))} is an option of a teacher, and there is "
                "none; name one: --teacher hubert"
            )
        return None
    return build_upstream(config.teacher, options).to(config.device).requires_grad_(False)
