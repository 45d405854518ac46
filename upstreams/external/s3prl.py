"""s3prl:NAME - any upstream of s3prl, and s3prl:path/to/expert.py - any expert file of that kind.

An expert is a class UpstreamExpert whose `forward` takes a list of (N,) waveforms and returns a
dictionary with "hidden_states". All depths are computed at once; state k is `hidden_states[k]`. A
file may import from its own folder (`from .model import ...`) and, as one inside s3prl may, from
s3prl (`from ..interfaces import UpstreamBase`).
"""

import hashlib
import pickle
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ...benchmark.errors import (
    BenchmarkError,
    MachineError,
    UsageError,
    did_you_mean,
    first_line,
)
from ...benchmark.registry import spelled, upstreams
from ...benchmark.s3prl_compat import s3prl_manners, s3prl_names, s3prl_shim
from ..backbones.whole_model import WholeModel, label

WITH_CKPT = ("_local", "_url", "_custom")  # s3prl's names that take a checkpoint of one's own


@upstreams.register("s3prl:")
class S3prl(WholeModel):
    """
    Args:
        model: a name of s3prl, such as fbank or hubert_local, or the path of an expert file.
        ckpt: the checkpoint, where the name or the file takes one (s3prl's -k).
    """

    # as s3prl's S3PRLUpstream does: some of its spectra cut digital silence off the end
    repeats_last = True

    def __init__(self, model: str = "", ckpt: str = ""):
        file = Path(model).expanduser().resolve()
        # a name of s3prl has no hyphen
        name = label(f"{file.parent.name}-{file.stem}") if file.suffix == ".py" else model
        with s3prl_manners():
            expert = _built(model, ckpt)
        source = f"{name}, an expert of s3prl's kind" if file.suffix == ".py" else f"s3prl's {name}"
        super().__init__(expert, spelled(f"s3prl:{name}", "", ckpt=(ckpt, "")), source)

    def all_states(self, wav: Tensor) -> Sequence[Tensor]:
        with s3prl_manners():
            given = self.net([wav])
        if not isinstance(given, dict) or "hidden_states" not in given:
            raise UsageError(f"{self.said}: its forward returns no dictionary with hidden_states")
        return given["hidden_states"]


def _built(model: str, ckpt: str) -> nn.Module:
    """The expert, with random weights of seed 0 where it loads none; each way to fail is one
    sentence."""
    who = f"s3prl:{model}"
    try:
        make = _from_file(model, who) if model.endswith(".py") else _by_name(model, ckpt, who)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            expert = make(**({"ckpt": ckpt} if ckpt else {}))
    except BenchmarkError:
        raise
    except ImportError as error:
        raise MachineError(_not_importable(who, error)) from error
    except (pickle.UnpicklingError, FileNotFoundError, AssertionError, TypeError) as error:
        raise UsageError(_not_built(who, ckpt, error)) from error
    except OSError as error:
        raise MachineError(
            f"{who} is not here and its download failed ({first_line(error)}); name a checkpoint "
            "that you have: s3prl:NAME_local --set ckpt=FILE"
        ) from error
    except Exception as error:  # a stranger's code may fail in any way
        raise UsageError(_not_built(who, ckpt, error)) from error
    if not isinstance(expert, nn.Module):
        raise UsageError(f"{who}: it makes no torch module but a {type(expert).__name__}")
    return expert


def _by_name(name: str, ckpt: str, who: str) -> Any:
    known = s3prl_names()
    if name not in known:
        raise UsageError(f"s3prl has no upstream {name!r}: {did_you_mean(name, known)}")
    own = name.endswith(WITH_CKPT)
    if own and not ckpt:
        raise UsageError(f"{who} needs a checkpoint: --set ckpt=FILE")
    if ckpt and not own:
        others = [f"{name}{end}" for end in WITH_CKPT if f"{name}{end}" in known]
        take = f"s3prl:{others[0]}" if others else "a name of s3prl that ends in _local"
        raise UsageError(f"{who} takes no checkpoint of yours; take {take} for that")
    if name.endswith("_local") and not Path(ckpt).expanduser().exists():
        raise UsageError(f"{who}: there is no file {ckpt}")
    return getattr(import_module(known[name]), name)


def _from_file(path: str, who: str) -> Any:
    """The UpstreamExpert of a file, imported as a module of s3prl.upstream where s3prl is here."""
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise UsageError(f"{who}: there is no file {file}")
    package = f"expert_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if find_spec("s3prl") is not None:
        s3prl_shim()
        with suppress(ImportError):
            import_module("s3prl.upstream")
            package = f"s3prl.upstream.{package}"
    folder = sys.modules.setdefault(package, ModuleType(package))
    folder.__path__ = [str(file.parent)]
    expert = getattr(import_module(f"{package}.{file.stem}"), "UpstreamExpert", None)
    if expert is None:
        raise UsageError(f"{who}: {file.name} has no class UpstreamExpert")
    return expert


def _not_importable(who: str, error: ImportError) -> str:
    if (error.name or "").partition(".")[0] == "fairseq":
        return (
            f"{who} needs fairseq, which cannot be installed beside this torch; take hf: or "
            "torchaudio: for the same weights, or convert the checkpoint where fairseq is "
            "(python -m s3prl.upstream.hubert.convert FILE) and take s3prl:NAME_local"
        )
    return f"{who} cannot be imported here ({first_line(error)}); install what it needs"


def _not_built(who: str, ckpt: str, error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):
        return (
            f"{who}: {ckpt or 'its checkpoint'} holds more than tensors and plain values, which "
            "only foreign code could read, and none is run here; save its state dict alone"
        )
    more = "" if ckpt else "; if it needs a checkpoint, add --set ckpt=FILE"
    return f"{who} cannot be built ({type(error).__name__}: {first_line(error)}){more}"
