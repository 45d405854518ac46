"""Small models of other libraries, with random weights, as their users have them on disk."""

from pathlib import Path

import torch

from helpers.libraries import library, unlike_new

SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}
LARGE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
WHISPER = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "vocab_size": 50,
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0),
    "decoder_start_token_id": 0,
}
EXPERT = """
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from ..interfaces import UpstreamBase
from .model import Block

class UpstreamExpert(UpstreamBase):
    def __init__(self, ckpt=None, **kwargs):
        super().__init__(**kwargs)
        print("an expert may print")
        self.front = nn.Conv1d(1, 16, 400, 320)
        self.blocks = nn.ModuleList(Block(16, 16) for _ in range(3))
        if ckpt:
            self.load_state_dict(torch.load(ckpt, weights_only=False))

    def forward(self, wavs):
        x = self.front(pad_sequence(wavs, batch_first=True)[:, None]).mT
        states = [x]
        for block in self.blocks:
            states.append(x := block(x).tanh())
        return {"hidden_states": states}
"""


def hugging_face(folder: Path, kind: str, normalise: bool | None = True, **config):
    """A model of transformers, saved in `folder` with the feature extractor that it hears
    through; `normalise` None: without one."""
    transformers = library("transformers")
    torch.manual_seed(0)
    stated = (WHISPER if kind == "Whisper" else SHAPE) | config
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**stated))
    unlike_new(model).save_pretrained(folder)
    if kind == "Whisper":
        transformers.WhisperFeatureExtractor().save_pretrained(folder)
    elif normalise is not None:
        transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(folder)
    return model


def expert(folder: Path, text: str = EXPERT) -> Path:
    """An expert of s3prl's kind with a module beside it: its file."""
    folder.mkdir(parents=True)
    (folder / "model.py").write_text("from torch import nn\nclass Block(nn.Linear): pass\n")
    (folder / "expert.py").write_text(text)
    return folder / "expert.py"
