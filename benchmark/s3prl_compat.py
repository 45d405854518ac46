"""s3prl beside today's torchaudio, one upstream at a time and without foreign code.

torchaudio 2.9 and later have neither `set_audio_backend` (called by
s3prl/upstream/byol_s/byol_a/common.py:20, and so by every `import s3prl.hub`) nor the module
`sox_effects` (s3prl#575, open). Neither is needed for what we use of s3prl.
"""

import ast
import os
import re
import sys
import types
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from .errors import UsageError, first_line, require
from .foreign import prints_to_stderr

# how the keys end whose texts are evaluated, by s3prl and by experts made after its own
EVALUATED = ("_layers", "_att_config", "_layer_id", "_pattern")
# [(512, 10, 5)] + [(512, 3, 2)] * 4, [True, False]
SHAPES = re.compile(r"([\d\s,()\[\]+*]|True|False)*")


def s3prl_shim() -> None:
    """Call before importing anything of s3prl. Adds what is missing and replaces nothing;
    twice is as good as once.
    """
    torchaudio = require("torchaudio", "s3prl", "s3prl")
    if not hasattr(torchaudio, "set_audio_backend"):
        torchaudio.set_audio_backend = lambda *_, **__: None
    if not hasattr(torchaudio, "sox_effects"):
        torchaudio.sox_effects = sys.modules["torchaudio.sox_effects"] = types.ModuleType(
            "torchaudio.sox_effects"
        )


def s3prl_names() -> dict[str, str]:
    """Every upstream's name in s3prl -> the module that makes it, read off the sources: importing
    `s3prl.hub` would import all families, some of which fail without what they alone need.
    """
    s3prl_shim()
    folder = Path(require("s3prl", "an upstream of s3prl", "s3prl").__file__).parent / "upstream"
    return {
        made.name: f"s3prl.upstream.{hub.parent.name}.hubconf"
        for hub in sorted(folder.glob("*/hubconf.py"))
        for made in ast.parse(hub.read_text(encoding="utf-8")).body
        if isinstance(made, ast.FunctionDef) and not made.name.startswith("_")
    }


@contextmanager
def s3prl_manners() -> Iterator[None]:
    """While s3prl's code runs: what it prints goes to stderr, and a checkpoint is data.

    Its loaders unpickle anything where they can, and `eval` some strings of a checkpoint's
    configuration (the list of convolutions); here tensors and plain values alone are read (an
    argparse.Namespace is one), and such a string must be numbers and lists.
    """
    import torch

    load = torch.load
    containers = getattr(torch.serialization, "safe_globals", lambda _: nullcontext())

    def plain(*given: Any, **how: Any) -> Any:
        read = load(*given, **{**how, "weights_only": True})
        _refuse_code(read, "the checkpoint")
        return read

    with (
        prints_to_stderr(),
        patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD="1"),
        patch.object(torch, "load", plain),
        containers([Namespace]),
    ):
        os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
        yield


def check_config(path: Path, who: str) -> None:
    """Nothing where an expert may read the YAML file.

    Raises: UsageError: it is not there, is no YAML, or holds code.
    """
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(
            f"{who}: model_config {path} cannot be read as YAML ({first_line(error)})"
        ) from error
    _refuse_code(read, path.name)


def _refuse_code(read: Any, where: str) -> None:
    """UsageError where a text that is evaluated is more than numbers and lists."""
    inside = vars(read) if isinstance(read, Namespace) else read
    for key, value in inside.items() if isinstance(inside, dict) else ():
        evaluated = isinstance(value, str) and str(key).endswith(EVALUATED)
        if evaluated and not SHAPES.fullmatch(value):
            raise UsageError(
                f"{where} has the {key} {value[:60]!r}, which s3prl would run as code; none from "
                "a checkpoint is run here"
            )
        _refuse_code(value, where)
