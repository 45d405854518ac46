"""fairseq for an expert file that builds its network of fairseq's layers: s3prl's copies of them.

fairseq cannot be installed beside today's torch and Python. s3prl keeps the layers of wav2vec 2.0
under its own roof (s3prl/upstream/wav2vec2/wav2vec2_model.py), and students of HuBERT are made of
these and a few helpers: FitHuBERT (glory20h/FitHuBERT: fithubert/), ARMHuBERT, MaskHuBERT and
STaRHuBERT (sungnyun/ARMHuBERT: models/).
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from .errors import UsageError

MODULES = (
    *("fairseq", "fairseq.dataclass", "fairseq.models", "fairseq.modules", "fairseq.utils"),
    *("fairseq.modules.checkpoint_activations", "fairseq.modules.transformer_sentence_encoder"),
    *("fairseq.modules.conformer_layer", "fairseq.modules.fairseq_dropout"),
    *("fairseq.modules.quant_noise", "fairseq.incremental_decoding_utils"),
)


@contextmanager
def fairseq_parts() -> Iterator[None]:
    """Meanwhile an expert's `from fairseq... import NAME` finds what s3prl has, and the helpers
    below; where fairseq is installed, or s3prl is not, nothing is changed.

    Any other name raises an ImportError of fairseq.
    """
    copies = None
    if find_spec("fairseq") is None:
        try:
            copies = import_module("s3prl.upstream.wav2vec2.wav2vec2_model")
        except ImportError:  # the expert's own import says what is missing
            copies = None
    made = {} if copies is None else _modules(vars(copies) | _helpers())
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            sys.modules.pop(name, None)


def _modules(names: dict[str, Any]) -> dict[str, ModuleType]:
    """No two of these modules mean two things by one name, so all of them have all names."""
    made = {}
    for name in MODULES:
        made[name] = module = ModuleType(name)
        module.__dict__.update({k: v for k, v in names.items() if not k.startswith("__")})
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(made[parent], child, module)
    return made


def _helpers() -> dict[str, Callable]:
    """What such files import beside layers, as far as a network that computes states needs it."""
    import torch
    from torch import Tensor, nn

    class Config:
        """The base of a dataclass of options."""

    def softmax(x: Tensor, dim: int, onnx_trace: bool = False) -> Tensor:
        return torch.softmax(x, dim, torch.float32)

    def eval_str_dict(text: str | None) -> None:
        """No options as text: nothing of a configuration is run."""
        if text is not None:
            raise UsageError(f"an expert's options {text!r} would have to be run as code")

    return {
        "FairseqDataclass": Config,
        "BaseFairseqModel": nn.Module,
        "softmax": softmax,
        "eval_str_dict": eval_str_dict,
        "checkpoint_wrapper": lambda module, *_, **__: module,  # saves memory in training alone
        "init_bert_params": lambda module: None,  # the checkpoint has the values
    }
