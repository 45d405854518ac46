"""The names that published checkpoints give to an encoder's parameters, and ours for them.

Ours are those of transformers' HubertModel, with names of our own for what only WavLM has; the
others are torchaudio's, fairseq's, s3prl's and those of WavLM's authors.
"""

import re
from collections.abc import Iterable, Mapping, MutableMapping

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
        (r"^encoder\.pos_conv\.(\d+)\.0\.", r"encoder.pos_conv_embed.layers.\1.conv."),
        (r"^encoder\.pos_conv\.0\.", "encoder.pos_conv_embed.conv."),
        (r"\.self_attn\.", ".attention."),
        (r"\.attention\.(gru_rel_pos_linear|grep_linear)\.", ".attention.gate.linear."),
        (r"\.attention\.(gru_rel_pos_const|grep_a)$", ".attention.gate.const"),
        (
            r"^encoder\.layers\.0\.attention\.(rel_attn_embed|relative_attention_bias)\.",
            "encoder.relative_bias.",
        ),
        # torchaudio's WavLM
        (r"\.attention\.attention\.", ".attention."),
        (r"\.self_attn_layer_norm\.", ".layer_norm."),
        (r"\.fc1\.", ".feed_forward.intermediate_dense."),
        (r"\.fc2\.", ".feed_forward.output_dense."),
        (r"^(final_proj\.|label_embs_concat$)", r"head.\1"),
        # torch's older weight norm -> its newer one
        (r"\.weight_g$", ".parametrizations.weight.original0"),
        (r"\.weight_v$", ".parametrizations.weight.original1"),
    )
)
# mask embeddings, heads, quantisers of pre-training
UNUSED = (
    *("mask_emb", "masked_spec_embed", "mask_generator.", "aux.", "lm_head.", "w2v_encoder.proj."),
    *("classifier.", "projector.", "layer_weights", "tdnn.", "objective."),
    *("quantizer.", "project_q.", "project_hid.", "output_layer."),
)
# what one family alone has: WavLM's table of distances, HuBERT's of units
DISTANCES = ("rel_attn_embed.weight", "relative_attention_bias.weight", "relative_bias.weight")
UNITS = ("label_embs_concat", "label_embeddings")
BATCH_NORM = "encoder.pos_conv.0.running_mean"  # fairseq's place for it, before the convolution


def our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint under our names: unused ones left out, weight norm folded in."""
    out, prefix = {}, _prefix(state)
    after_norm = any(key.endswith(BATCH_NORM) for key in state)
    for key, value in state.items():
        key = key.removeprefix(prefix)
        if after_norm:
            key = key.replace("encoder.pos_conv.0.", "encoder.pos_conv_embed.batch_norm.")
            key = key.replace("encoder.pos_conv.1.", "encoder.pos_conv_embed.conv.")
        for pattern, ours in RENAMES:
            key = pattern.sub(ours, key)
        # a count of batches is no parameter
        if not key.startswith(UNUSED) and not key.endswith(".num_batches_tracked"):
            out[key] = value
    _split_projections(out)
    conv = "encoder.pos_conv_embed.conv"
    # weight norm: one magnitude a kernel position
    if f"{conv}.parametrizations.weight.original1" in out:
        g, v = (out.pop(f"{conv}.parametrizations.weight.original{i}").float() for i in (0, 1))
        out[f"{conv}.weight"] = v * (g / v.norm(dim=(0, 1), keepdim=True))
    # fine-tuned models and wav2vec 2.0 have a final projection, but no label embeddings
    if "head.label_embs_concat" not in out:
        out = {k: v for k, v in out.items() if not k.startswith("head.")}
    return out


def _split_projections(state: MutableMapping[str, Tensor]) -> None:
    """torch's MultiheadAttention has queries, keys and values in one tensor."""
    for name in [name for name in state if ".attention.in_proj_" in name]:
        for which, part in zip("qkv", state.pop(name).chunk(3), strict=True):
            state[name.replace(".in_proj_", f".{which}_proj.")] = part


def _prefix(state: Mapping[str, Tensor]) -> str:
    """What a trainer put before every name of the network, `model.module.` and the like; "" where
    the file holds two of them."""
    first = "feature_extractor.conv_layers.0."
    found = {key.partition(first)[0] for key in state if first in key}
    return found.pop() if len(found) == 1 else ""


def family_of(state: Mapping[str, Tensor]) -> str:
    """The upstream whose parameters these can only be, under whichever names; "" where several
    have them."""
    if any(key.endswith(DISTANCES) for key in state):
        return "wavlm"
    return "hubert" if any(key.endswith(UNITS) for key in state) else ""


def some(names: Iterable[str]) -> str:
    """The first of several names and how many others there are, for a message."""
    first, *others = sorted(names)
    return f"{first} and {len(others)} more" if others else first
