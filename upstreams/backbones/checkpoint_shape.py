"""The shape of a checkpoint: what its tensors and its configuration state, held against what a tag
promises and against what the network here can compute.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ...benchmark.errors import UsageError
from .hubert_shape import HubertShape

# fields that a tag promises
PROMISED = (
    *("dim", "depth", "heads", "ffn", "conv_dim", "conv_norm", "pos_kernel", "pos_groups"),
    *("pre_norm", "pos_layers", "buckets", "feature_norm"),
)
UNSEEN = ("heads", "pre_norm")  # the sizes of tensors do not tell them
OTHERWISE = "tag that fits, or distilhubert.own, which has the sizes of a HuBERT's weights"
ALONE = {  # what tells families apart
    "buckets": "upstream that fits: buckets of distances are wavlm's alone",
    "pos_layers": "upstream that fits: several positional convolutions are data2vec's alone",
}


def found_shape(
    state: Mapping[str, Tensor],
    facts: dict[str, Any],
    asked: HubertShape,
    source: str,
    promised: Sequence[str] = PROMISED,
) -> HubertShape:
    """The shape of what was read; UsageError where a promised field differs from `asked`."""
    try:
        stated = _stated_by_tensors(state)
    except (KeyError, ValueError, TypeError, IndexError, ArithmeticError) as error:
        raise UsageError(
            f"weights: {source} holds no HuBERT or relative under any names known here (no "
            f"{error.args[0]}){elsewhere(source)}"
        ) from error
    facts = {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}  # JSON has lists
    _check_distances(stated["buckets"], facts.get("max_distance", asked.max_distance), source)
    at_odds = [name for name in stated if facts.get(name, stated[name]) != stated[name]]
    if at_odds:
        name = at_odds[0]
        raise UsageError(
            f"weights: {source} has {name} {stated[name]}, but its configuration says "
            f"{facts[name]}; copy both again"
        )
    if unsaid := [name for name in UNSEEN if name not in (*promised, *facts, *stated)]:
        raise UsageError(
            f"weights: {source} does not state its {' and '.join(unsaid)}, and no tag does; name a "
            "folder in which its config.json stands, or a checkpoint with its configuration"
        )
    found = replace(asked, **facts | stated)
    _check_convolutions(found, source)
    wrong = [name for name in promised if getattr(found, name) != getattr(asked, name)]
    if wrong:
        has = ", ".join(f"{name} {getattr(found, name)}" for name in wrong)
        wants = ", ".join(f"{name} {getattr(asked, name)}" for name in wrong)
        fits = next((fits for name, fits in ALONE.items() if name in wrong), OTHERWISE)
        raise UsageError(
            f"weights: {source} has {has} where {wants} was asked for; choose the {fits}"
        )
    if found.dim % found.heads:
        raise UsageError(
            f"weights: {source} has dim {found.dim}, which {found.heads} heads do not divide; copy "
            "its configuration again"
        )
    return found


def _check_distances(buckets: int, reach: Any, source: str) -> None:
    """UsageError where `positions.bucket_of` cannot tell distances apart: a quarter of the buckets
    is for the nearest distances, one each."""
    known = isinstance(reach, int) and buckets >= 4
    if buckets and not (known and reach > buckets // 4):
        raise UsageError(
            f"weights: {source} has {buckets} buckets of distances up to {reach}, which leaves "
            "none for far ones; copy its configuration again"
        )


def _check_convolutions(shape: HubertShape, source: str) -> None:
    """UsageError where `Convolutions` cannot step like these."""
    kernels, strides = shape.kernels, shape.strides
    if len(kernels) != len(strides):
        raise UsageError(
            f"weights: {source} has {len(kernels)} convolutions and does not state their strides; "
            "name a folder in which its config.json stands"
        )
    begins = isinstance(strides[0], int) and strides[0] > 0
    if not begins or any(s != 2 for s in strides[1:]) or not {2, 3} >= set(kernels[1:]):
        raise UsageError(
            f"weights: {source} has convolutions of kernels {kernels} and strides {strides}; the "
            f"network here knows 2 or 3 taps and stride 2 after the first{elsewhere(source)}"
        )


def elsewhere(source: str) -> str:
    """How a sentence ends that refuses a network with other layers than are known here."""
    if source.startswith("torchaudio:"):
        upstream = source
    elif Path(source).expanduser().is_file():
        upstream = f"s3prl:FOLDER/expert.py --set ckpt={source}"
    else:
        upstream = f"hf:{source}"
    return f"; a network with layers of its own runs by its own code: --upstream {upstream}"


def _stated_by_tensors(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Fields of HubertShape that follow from the sizes of tensors. KeyError or ValueError where
    they are not a HuBERT's.
    """
    convolutions, position = "feature_extractor.conv_layers", "encoder.pos_conv_embed"
    stack = [k for k in state if re.fullmatch(rf"{position}\.layers\.\d+\.conv\.weight", k)]
    first = f"{position}.layers.0" if stack else position
    dim, per_group, pos_kernel = state[f"{first}.conv.weight"].shape
    last_block = max(int(k.split(".")[2]) for k in state if k.startswith("encoder.layers."))
    every_norm = f"{convolutions}.1.layer_norm.weight" in state
    several = sum(re.fullmatch(rf"{convolutions}\.\d+\.conv\.weight", k) is not None for k in state)
    stated = {
        "dim": dim,
        "pos_kernel": pos_kernel,
        "pos_groups": dim // per_group,
        "pos_layers": max(1, len(stack)),
        "pos_batch_norm": f"{position}.batch_norm.running_mean" in state,
        "buckets": 0,
        "depth": 1 + last_block,
        "ffn": len(state["encoder.layers.0.feed_forward.intermediate_dense.weight"]),
        "conv_dim": len(state[f"{convolutions}.0.conv.weight"]),
        "conv_norm": "layer" if every_norm else "group",
        "conv_bias": f"{convolutions}.0.conv.bias" in state,
        "kernels": tuple(
            state[f"{convolutions}.{i}.conv.weight"].shape[-1] for i in range(several)
        ),
    }
    if "encoder.relative_bias.weight" in state:
        stated["buckets"], stated["heads"] = state["encoder.relative_bias.weight"].shape
    if "head.label_embs_concat" in state:
        stated["units"], stated["unit_dim"] = state["head.label_embs_concat"].shape
    return stated
