"""What must be installed for what, and the command that installs it.

setup.cfg declares the same lists; tests/test_house.py compares the two. No package is imported
here.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]  # a checkout, or site-packages/earlyexit_superb

CORE = {  # module -> distribution; every verb may use these
    "numpy": "numpy",
    "scipy": "scipy",
    "pandas": "pandas",
    "yaml": "pyyaml",
    "soundfile": "soundfile",
    "safetensors": "safetensors",
    "tqdm": "tqdm",
    "filelock": "filelock",
    "pydantic": "pydantic",
    "torch": "torch",
}


@dataclass(frozen=True)
class Extra:
    """What `pip install "earlyexit-superb[name]"` adds to the core."""

    purpose: str
    modules: Mapping[str, str]  # module whose import proves it -> distribution


EXTRAS = {
    "train": Extra(
        "training heads and upstreams",
        {"lightning_fabric": "lightning-fabric", "sklearn.cluster": "scikit-learn"},
    ),
    "mini": Extra("the built-in corpora", {"espeakng_loader": "espeakng-loader"}),
    "se": Extra(
        "speech enhancement: PESQ and STOI",
        {"pesq": "pesq", "pystoi": "pystoi", "threadpoolctl": "threadpoolctl"},
    ),
    "asr": Extra("speech recognition: word error rates", {"jiwer": "jiwer"}),
    "ss": Extra(
        "separation, and the parity tests of its metrics",
        {"asteroid.losses": "asteroid", "mir_eval.separation": "mir_eval"},
    ),
    "hf": Extra("Hugging Face models and weights", {"transformers": "transformers"}),
    "torchaudio": Extra("torchaudio bundles, training hubert.tiny", {"torchaudio": "torchaudio"}),
    "s3prl": Extra(
        "s3prl's upstreams (s3prl:NAME), the reference models of speed, parity tests of heads",
        {"s3prl.upstream.interfaces": "s3prl", "torchaudio": "torchaudio"},
    ),
    "cluster": Extra("sweep --ray", {"ray": "ray"}),
    "figures": Extra("drawing figures", {"matplotlib": "matplotlib"}),
    "bpe": Extra("writing transcripts with word pieces", {"sentencepiece": "sentencepiece"}),
    "lm": Extra(
        "beam search",
        {"flashlight.lib.text.decoder.kenlm": "flashlight-text", "torchaudio": "torchaudio"},
    ),
}
PAIRED = {  # where there is no constraints.txt to name the tested set
    "torch": "torch==2.11.*",
    "torchaudio": "torchaudio==2.11.*",
    "setuptools": "setuptools<82",
}
OUTSIDE_ALL = {"lm"}  # no wheels on some systems
BUILTIN = ("train", "mini", "se", "asr")  # of what runs with no data and no model of one's own


def checkout() -> bool:
    """Whether this is a checkout, with the tested set in its constraints.txt, or an installed
    wheel.
    """
    return (HERE / "setup.cfg").is_file()


def install(extras: str = "") -> str:
    """The command that installs the core and `extras` ("se" or "se,mini"; "" = none)."""
    wanted = f"[{extras}]" if extras else ""
    if checkout():
        return f'pip install -c constraints.txt -e ".{wanted}"'
    return f'pip install "earlyexit-superb{wanted}"'


def tested(*distributions: str) -> str:
    """The arguments of pip that install `distributions` in versions which work together."""
    if checkout():
        return " ".join(["-c constraints.txt", *distributions])
    return " ".join(f'"{PAIRED.get(name, name)}"' for name in distributions)


def lacking(what: str, distributions: Sequence[str]) -> str:
    """The sentence about distributions of the core that are not installed."""
    ours = (
        ", or use the environment that make demo sets up (. .venv/bin/activate)"
        if checkout()
        else ""
    )
    return (
        f"{what} needs {', '.join(distributions)}, not installed for {sys.executable}; "
        f"run: {install()}{ours}"
    )


def missing() -> list[str]:
    """The distributions of the core that are not installed here; nothing is imported."""
    return [distribution for module, distribution in CORE.items() if find_spec(module) is None]
