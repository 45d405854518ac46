"""HuBERT's convolutions, trained first and then frozen.

HuBERT learns them by masked prediction alone; from a log-mel start a few hours of speech suffice.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...benchmark import distributed, trainer
from ...benchmark.contract import SAMPLE_RATE, TrainingRun
from ...benchmark.errors import require
from ..backbones.hubert import HubertNet
from ..backbones.hubert_shape import STRIDE, HubertShape
from .hubert_recipe import HubertRecipe
from .pretraining_data import Pool
from .units import SPECTRUM, on_frames

MELS = 80
SAMPLES = 32 * STRIDE + 80  # of a crop: 32 frames
WARM = 40  # updates in which the rate rises


class Teller(nn.Module):
    """A network whose convolution output is read as a log-mel spectrum by one linear layer."""

    def __init__(self, shape: HubertShape):
        super().__init__()
        self.net, self.read_out = HubertNet(shape), nn.Linear(shape.conv_dim, MELS)
        initialise(self.net)

    def forward(self, wavs: Tensor) -> Tensor:
        """(B, N) -> (B, T, MELS)"""
        x = self.net.feature_extractor(wavs, torch.full((len(wavs),), wavs.shape[1]))
        return self.read_out(self.net.feature_projection.layer_norm(x))

    def learners(self) -> list[nn.Parameter]:
        norm = self.net.feature_projection.layer_norm
        parts = (self.net.feature_extractor, norm, self.read_out)
        return [p for part in parts for p in part.parameters()]


def front_end(shape: HubertShape, recipe: HubertRecipe, pool: Pool, run: TrainingRun) -> HubertNet:
    """A network with trained convolutions and new blocks; goes on from what is in the folder."""
    torch.manual_seed(run.seed)
    model, log_mel, steps = Teller(shape).to(run.device), _log_mel(), recipe.front_steps

    def error(rng: np.random.Generator, held_out: bool) -> Tensor:
        wavs, _ = pool.crops(rng, 2 * recipe.batch, SAMPLES, held_out=held_out)
        wavs = pool.add_noise(wavs, rng, recipe.noisy)
        wavs = wavs if held_out else wavs[distributed.share(len(wavs))]
        with half(run.device):
            guess = model(wavs.to(run.device))
        return F.mse_loss(guess.float(), log_mel(wavs).to(run.device))

    def factor(step: int) -> float:
        return min((step + 1) / WARM, max(0.02, (steps - step) / steps))

    schedule = trainer.Schedule(steps, min(recipe.every, 100), clip=1.0, factor=factor)
    trainer.train(
        model,
        lambda i: error(np.random.default_rng(trainer.step_seed(run.seed, i)), False),
        torch.optim.AdamW(model.learners(), recipe.front_lr),
        schedule,
        folder=run.work / "front",
        seed=run.seed,
        device=run.device,
        validate=lambda: {"log_mel_error": error(np.random.default_rng(run.seed), True)},
        what=f"front-end, {pool.hours:.1f} h",
    )
    return model.net.eval()


def initialise(net: HubertNet) -> None:
    """BERT's small normal weights; the residual branches smaller still.

    So twelve post-norm blocks start near identity.
    """
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    for block in net.encoder.layers:
        for last in (block.attention.out_proj, block.feed_forward.output_dense):
            nn.init.normal_(last.weight, std=0.02 / (2 * net.shape.depth) ** 0.5)
    nn.init.normal_(net.feature_projection.projection.weight, std=net.shape.conv_dim**-0.5)
    kernel = net.shape.pos_kernel * net.shape.dim
    nn.init.normal_(net.encoder.pos_conv_embed.conv.weight, std=(4 / kernel) ** 0.5)
    nn.init.normal_(net.head.label_embs_concat)


def _log_mel() -> Callable[[Tensor], Tensor]:
    """(B, N) -> (B, T, MELS) on the convolutions' frames, zero mean and unit variance a row."""
    torchaudio = require("torchaudio", "log-mel targets", "torchaudio")
    transform = torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, n_mels=MELS, **SPECTRUM)

    def log_mel(wavs: Tensor) -> Tensor:
        x = (transform(on_frames(wavs)) + 1e-6).log().mT
        return (x - x.mean((1, 2), keepdim=True)) / (x.std((1, 2), keepdim=True) + 1e-5)

    return log_mel


def half(device: str) -> torch.autocast:
    """bfloat16 where the hardware multiplies in it; a CPU that does not is many times slower."""
    kind, able = device.split(":")[0], torch.cpu.get_capabilities()
    fast = kind != "cpu" or able["avx512_bf16"] or able["amx_bf16"]
    return torch.autocast(kind, torch.bfloat16, enabled=fast)
