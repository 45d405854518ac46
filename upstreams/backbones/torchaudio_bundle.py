"""A bundle of torchaudio: a published model by its name, with the weights loaded."""

from typing import Any

import torch
from torch import nn

from ...benchmark.audio import SAMPLE_RATE
from ...benchmark.errors import MachineError, UsageError, did_you_mean, first_line, require


def bundle(name: str, what: str = "") -> tuple[Any, nn.Module]:
    """A Wav2Vec2Bundle of torchaudio.pipelines and its model; random states stay as they are.

    Args:
        what: the bundle is read for, as sentences begin: "weights: ".

    Raises:
        UsageError: there is no such bundle, or it hears another sample rate.
        MachineError: it is not on this machine and cannot be downloaded.
    """
    pipelines = require("torchaudio.pipelines", "a torchaudio bundle", "torchaudio")
    known = {n: b for n, b in vars(pipelines).items() if isinstance(b, pipelines.Wav2Vec2Bundle)}
    if name not in known:
        raise UsageError(f"{what}torchaudio has no bundle {name!r}: {did_you_mean(name, known)}")
    found = known[name]
    if found.sample_rate != SAMPLE_RATE:
        raise UsageError(
            f"{what}torchaudio:{name} hears {found.sample_rate:g} samples a second, where "
            f"everything here is {SAMPLE_RATE}"
        )
    try:
        with torch.random.fork_rng(devices=[]):  # initial values, which are overwritten
            return found, found.get_model(dl_kwargs={"weights_only": True})
    except (OSError, RuntimeError) as error:
        raise MachineError(
            f"{what}torchaudio:{name} is not here and its download failed ({first_line(error)}); "
            "run this once where there is a network and copy ~/.cache/torch/hub, or name a local "
            "file or Hugging Face folder instead"
        ) from error
