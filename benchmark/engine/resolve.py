"""From a configuration to an experiment: every name, option and file found and checked."""

import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from .. import calibration
from ..config import number
from ..contract import Item, Task, Upstream
from ..errors import UsageError, did_you_mean
from ..foreign import prints_to_stderr
from ..registry import build_upstream, options_of, tasks
from ..validation import opened
from . import anytime, controls
from .devices import check_device
from .experiment import Experiment, RunConfig
from .precision import at_precision
from .promises import check_built
from .protocols import run_protocol, settable


@prints_to_stderr()
def resolve(config: RunConfig) -> Experiment:
    """Every name, option and file of a configuration, found and checked.

    Raises: UsageError about the first that does not fit; MachineError where a package is missing.
    """
    task: Task = tasks.get(config.task)
    check_device(config.device)
    options, fields_given = _sorted_settings(config, task)
    name = config.protocol or (task.builtin if config.data is None else task.default)
    if name not in task.protocols:
        raise UsageError(
            f"task {task.name} has no protocol {name!r}: {did_you_mean(name, task.protocols)}"
        )
    if config.data is not None and not config.data.exists():
        raise UsageError(
            f"--data {config.data}: there is no such folder or list; leave the flag out to use the "
            "built-in corpus"
        )
    torch.manual_seed(config.seed)
    upstream = build_upstream(config.upstream, options).to(config.device).requires_grad_(False)
    check_built(upstream)
    upstream = at_precision(upstream, config.precision)
    knob_given, exits = fields_given.pop(upstream.knob, None), fields_given.pop("exits", "")
    _refuse_unknown(fields_given, config, task, upstream, options)
    values, spans = _knob(config, upstream, knob_given)
    _refuse_task(upstream, task)
    answers = task.name in upstream.answers
    extra = controls.extra(str(exits), upstream, answers)
    resolved = run_protocol(task.protocols[name], fields_given, config.lr)
    # where no head is trained, no target has to fit the upstream's frames: any number will do
    frames = torch.clone if answers else upstream.frames
    corpus = opened(task, config.data, resolved.protocol, frames)
    splits = {
        s: limited(
            corpus.splits[s], getattr(resolved.protocol, f"{s}_limit"), resolved.protocol.limit_seed
        )
        for s in ("train", "dev", "test")
    }
    at_test = _at_test(config, upstream)
    anytime.check(config.anytime, upstream, values, task.metrics[0], splits["train"], answers)
    return Experiment(
        config, task, resolved, upstream, corpus, splits, values, spans, extra, at_test
    )


def _sorted_settings(config: RunConfig, task: Task) -> tuple[dict[str, Any], dict[str, Any]]:
    """--set keys that the upstream's constructor takes, and the others."""
    known = options_of(config.upstream)
    options = {k: v for k, v in config.settings.items() if k in known}
    return options, {k: v for k, v in config.settings.items() if k not in known}


def _refuse_unknown(
    given: Mapping[str, Any], config: RunConfig, task: Task, upstream: Upstream, options: Mapping
) -> None:
    """UsageError for a --set key that is neither the upstream's nor the protocol's."""
    protocol = settable(task)
    for key in given:
        if key not in protocol:
            knob = [upstream.knob] if upstream.knob else []
            known = sorted({*options_of(config.upstream), *protocol, "exits", *knob})
            raise UsageError(
                f"--set {key}: neither {config.upstream} nor a protocol of {task.name} has it; "
                f"{did_you_mean(key, known)}"
            )


def _refuse_task(upstream: Upstream, task: Task) -> None:
    """UsageError where the upstream was tuned for something else."""
    card = upstream.card
    if card.tasks and task.name not in card.tasks:
        raise UsageError(
            f"{card.name} was tuned on {card.tuned_on or 'labelled data'} and is only for "
            f"{', '.join(card.tasks)}, not for {task.name}; choose another --task, or a "
            "self-supervised upstream (run_benchmark.py ls upstreams)"
        )


def _knob(
    config: RunConfig, upstream: Upstream, given: Any
) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """The values of the upstream's knob and the spans of its exits."""
    _refuse_knobs(config.upstream, upstream, config.knobs, "--knob")
    if given is not None and upstream.knob in config.knobs:
        raise UsageError(
            f"--set {upstream.knob}={given} and --knob (or --rho) both turn the knob "
            f"{upstream.knob}; leave one of them out"
        )
    if config.span and not upstream.knob:
        raise UsageError(
            f"{config.upstream} does not exit by itself, so it has no span; choose an adaptive "
            "upstream such as daisy"
        )
    spans = tuple(dict.fromkeys(config.span)) or upstream.spans
    for span in spans:
        if span not in calibration.SPANS:
            raise UsageError(f"there is no span {span!r}: {did_you_mean(span, calibration.SPANS)}")
    if not upstream.knob:
        return (), spans
    words = [] if given is None else str(given).split(",")
    values = tuple(config.knobs.get(upstream.knob, ())) or tuple(
        number(w, f"--set {upstream.knob}") for w in words
    )
    _check_values(upstream, values)
    return values or upstream.knob_values, spans


def _at_test(config: RunConfig, upstream: Upstream) -> tuple[float, ...]:
    """The values of the knob at test; () where they are those of training."""
    _refuse_knobs(config.upstream, upstream, config.test_knobs, "--test-knob")
    values = tuple(config.test_knobs.get(upstream.knob, ()))
    _check_values(upstream, values)
    return values


def _refuse_knobs(spec: str, upstream: Upstream, given: Iterable[str], option: str) -> None:
    """UsageError for a knob that the upstream does not have."""
    for name in given:
        if name != upstream.knob:
            own = (
                f"turn its own knob with {option} {upstream.knob}=VALUE"
                if upstream.knob
                else "it does not exit by itself"
            )
            raise UsageError(f"{spec} has no {name}: {own}")


def _check_values(upstream: Upstream, values: Sequence[float]) -> None:
    for value in values:
        if warning := upstream.check_knob(value):
            print(f"warning: {warning}", file=sys.stderr)


def limited(items: Sequence[Item], limit: int | None, seed: int) -> Sequence[Item]:
    """All, or `limit` of them drawn with `seed`, in their old order."""
    if limit is None or limit >= len(items):
        return items
    return [items[i] for i in sorted(random.Random(seed).sample(range(len(items)), limit))]
