"""The names that published checkpoints give to HuBERT's parameters, and ours for them.

Ours are those of transformers' HubertModel; the others are torchaudio's, fairseq's and s3prl's.
"""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

# Other conventions' names -> ours, applied in this order. No two conventions use one name for two
# things, so one table serves them all; fine-tuned models and torchaudio's wrapper for normalised
# waveforms put one word before every name.
RENAMES = tuple(
    (re.compile(pattern), ours)
    for pattern, ours in (
        (r"^((model|module|hubert|wav2vec2)\.)+", ""),
        # torchaudio: hubert_base() and the like, hubert_pretrain_base() and the like
        (r"^encoder\.transformer\.", "encoder."),
        (r"^encoder\.feature_projection\.", "feature_projection."),
        (r"^logit_generator\.label_embeddings$", "head.label_embs_concat"),
        (r"^logit_generator\.final_proj\.", "head.final_proj."),
        # fairseq, and s3prl, which keeps its names
        (r"^(feature_extractor\.conv_layers\.\d+)\.0\.", r"\1.conv."),
        (r"^(feature_extractor\.conv_layers\.\d+)\.2\.(1\.)?", r"\1.layer_norm."),
        (r"^layer_norm\.", "feature_projection.layer_norm."),
        (r"^post_extract_proj\.", "feature_projection.projection."),
        (r"^encoder\.pos_conv\.0\.", "encoder.pos_conv_embed.conv."),
        (r"\.self_attn\.", ".attention."),
        (r"\.self_attn_layer_norm\.", ".layer_norm."),
        (r"\.fc1\.", ".feed_forward.intermediate_dense."),
        (r"\.fc2\.", ".feed_forward.output_dense."),
        (r"^(final_proj\.|label_embs_concat$)", r"head.\1"),
        # torch's older weight norm -> its newer one
        (r"\.weight_g$", ".parametrizations.weight.original0"),
        (r"\.weight_v$", ".parametrizations.weight.original1"),
    )
)
# mask embeddings, recognition heads
UNUSED = ("mask_emb", "masked_spec_embed", "mask_generator.", "aux.", "lm_head.")


def our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint under our names: unused ones left out, weight norm folded in."""
    out, prefix = {}, _prefix(state)
    for key, value in state.items():
        key = key.removeprefix(prefix)
        for pattern, ours in RENAMES:
            key = pattern.sub(ours, key)
        if not key.startswith(UNUSED):
            out[key] = value
    conv = "encoder.pos_conv_embed.conv"
    # weight norm: one magnitude a kernel position
    if f"{conv}.parametrizations.weight.original1" in out:
        g, v = (out.pop(f"{conv}.parametrizations.weight.original{i}").float() for i in (0, 1))
        out[f"{conv}.weight"] = v * (g / v.norm(dim=(0, 1), keepdim=True))
    # fine-tuned models and wav2vec 2.0 have a final projection, but no label embeddings
    if "head.label_embs_concat" not in out:
        out = {k: v for k, v in out.items() if not k.startswith("head.")}
    return out


def _prefix(state: Mapping[str, Tensor]) -> str:
    """What a trainer put before every name of the network, `model.module.` and the like; "" where
    the file holds two of them."""
    first = "feature_extractor.conv_layers.0."
    found = {key.partition(first)[0] for key in state if first in key}
    return found.pop() if len(found) == 1 else ""


def some(names: Iterable[str]) -> str:
    """The first of several names and how many others there are, for a message."""
    first, *others = sorted(names)
    return f"{first} and {len(others)} more" if others else first
