"""A student thinner than a HuBERT, of fairseq's layers: between convolutions one of kernel 1, time
halved before the blocks and doubled again behind them."""

from dataclasses import dataclass

from fairseq.dataclass import FairseqDataclass
from fairseq.models import BaseFairseqModel
from fairseq.modules import Fp32GroupNorm, LayerNorm, MultiheadAttention
from fairseq.modules.transformer_sentence_encoder import init_bert_params
from fairseq.utils import get_activation_fn
from torch import nn


@dataclass
class StudentConfig(FairseqDataclass):
    conv_feature_layers: str = "[(16, 10, 5)] + [(24, 1, 1)] + [(24, 3, 2)] * 4 + [(24, 2, 2)] * 2"
    encoder_layers: int = 2
    encoder_embed_dim: int = 32
    pred_head_final_dim: int = 48


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.self_attn = MultiheadAttention(dim, 2, self_attention=True)
        self.self_attn_layer_norm, self.final_layer_norm = LayerNorm(dim), LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.activation = get_activation_fn("gelu")

    def forward(self, x):  # (T, B, D)
        heard, shares = self.self_attn(x, x, x, need_weights=False)
        x = self.self_attn_layer_norm(x + heard)
        return self.final_layer_norm(x + self.fc2(self.activation(self.fc1(x)))), shares


class Student(BaseFairseqModel):
    def __init__(self, config):
        super().__init__()
        layers, channels = [], 1
        for width, kernel, stride in eval(config.conv_feature_layers):
            norm = nn.Identity() if layers else Fp32GroupNorm(width, width)
            layers.append(
                nn.Sequential(nn.Conv1d(channels, width, kernel, stride), norm, nn.GELU())
            )
            channels = width
        dim = config.encoder_embed_dim
        self.feature_extractor = nn.ModuleDict({"conv_layers": nn.ModuleList(layers)})
        self.post_extract_proj = nn.Linear(channels, dim)
        blocks = [nn.Conv1d(dim, dim, 2, 2), *(Block(dim) for _ in range(config.encoder_layers))]
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(blocks)})
        self.upsampler = nn.ConvTranspose1d(dim, dim, 2, 2)
        self.final_proj = nn.Linear(dim, config.pred_head_final_dim)
        self.apply(init_bert_params)

    def forward(self, wavs):  # (B, N) -> (B, T, D), and of every block (T, B, D) with its shares
        x = wavs[:, None]
        for layer in self.feature_extractor["conv_layers"]:
            x = layer(x)
        shorten, *blocks = self.encoder["layers"]
        x, told = shorten(self.post_extract_proj(x.mT).mT).permute(2, 0, 1), []
        for block in blocks:
            x, shares = block(x)
            told.append((x, shares))
        return self.final_proj(self.upsampler(x.permute(1, 2, 0)).mT), told
