"""Building an expert of s3prl, by its name or from a file; each way to fail is one sentence."""

import hashlib
import pickle
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from ...benchmark.errors import (
    BenchmarkError,
    MachineError,
    UsageError,
    did_you_mean,
    first_line,
)
from ...benchmark.fairseq_parts import fairseq_parts
from ...benchmark.s3prl_compat import check_config, s3prl_names, s3prl_shim

WITH_CKPT = ("_local", "_url", "_custom")  # s3prl's names that take a checkpoint of one's own


def built(model: str, given: Mapping[str, str]) -> nn.Module:
    """The expert, with random weights of seed 0 where it loads none.

    Args:
        model: a name of s3prl, or the path of an expert file.
        given: "ckpt" and "model_config", those that are named.

    Raises:
        UsageError: no such model, it does not fit what is given, or its own code fails.
        MachineError: something that it needs is not on this machine.
    """
    who = f"s3prl:{model}"
    if "model_config" in given:
        check_config(Path(given["model_config"]).expanduser(), who)
    try:
        with fairseq_parts(), torch.random.fork_rng(devices=[]):
            make = _from_file(model, who) if model.endswith(".py") else _by_name(model, given, who)
            torch.default_generator.manual_seed(0)
            expert = make(**given)
    except BenchmarkError:
        raise
    except ImportError as error:
        raise MachineError(_not_importable(who, error)) from error
    except (pickle.UnpicklingError, FileNotFoundError, AssertionError, TypeError) as error:
        raise UsageError(_not_built(who, given, error)) from error
    except OSError as error:
        raise MachineError(
            f"{who} is not here and its download failed ({first_line(error)}); name a checkpoint "
            "that you have: s3prl:NAME_local --set ckpt=FILE"
        ) from error
    except Exception as error:  # a stranger's code may fail in any way
        raise UsageError(_not_built(who, given, error)) from error
    if not isinstance(expert, nn.Module):
        raise UsageError(f"{who}: it makes no torch module but a {type(expert).__name__}")
    return expert


def _by_name(name: str, given: Mapping[str, str], who: str) -> Callable[..., nn.Module]:
    known = s3prl_names()
    if name not in known:
        raise UsageError(f"s3prl has no upstream {name!r}: {did_you_mean(name, known)}")
    own = name.endswith(WITH_CKPT)
    if own and not given:
        raise UsageError(f"{who} needs a checkpoint: --set ckpt=FILE")
    if given and not own:
        others = [f"{name}{end}" for end in WITH_CKPT if f"{name}{end}" in known]
        take = f"s3prl:{others[0]}" if others else "a name of s3prl that ends in _local"
        raise UsageError(f"{who} takes no checkpoint of yours; take {take} for that")
    ckpt = given.get("ckpt")
    if ckpt and name.endswith("_local") and not Path(ckpt).expanduser().exists():
        raise UsageError(f"{who}: there is no file {ckpt}")
    return getattr(import_module(known[name]), name)


def _from_file(path: str, who: str) -> Callable[..., nn.Module]:
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
            f"{who} needs fairseq, which cannot be installed beside this torch "
            f"({first_line(error)}); take hf: or torchaudio: for the same weights, or convert the "
            "checkpoint where fairseq is (python -m s3prl.upstream.hubert.convert FILE) and take "
            "s3prl:NAME_local"
        )
    return f"{who} cannot be imported here ({first_line(error)}); install what it needs"


def _not_built(who: str, given: Mapping[str, str], error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):
        return (
            f"{who}: {given.get('ckpt', 'its checkpoint')} holds more than tensors and plain "
            "values, which only foreign code could read, and none is run here; save its state dict "
            "alone, under the key that the expert reads"
        )
    said = f"{who} cannot be built ({type(error).__name__}: {first_line(error)})"
    if "ckpt" not in given:
        return f"{said}; if it needs a checkpoint, add --set ckpt=FILE"
    if "model_config" in str(error) and "model_config" not in given:
        return f"{said}; add the YAML file that came with it: --set model_config=FILE"
    return said
