"""Pre-training a small HuBERT by masked prediction of cluster units, in two iterations (Hsu et al., 2021, sec. III).

Iteration 1 predicts k-means units of 39-dimensional MFCCs, iteration 2 units of a middle block of iteration 1's model.
Units are those of the clean crop; half of each batch is heard with noise, so that the model learns to see through it.
"""
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..benchmark import loop
from ..benchmark.contract import SAMPLE_RATE
from ..benchmark.errors import need
from ._hubert import HubertNet, HubertShape, frame_counts
from ._pool import Pool


@dataclass(frozen=True)
class Iteration:
    """One iteration's recipe. Everything not named here is HuBERT's."""
    name: str
    layer: int                # units are clusters of this block's output; 0 = of MFCCs
    units: int
    steps: int
    lr: float
    unmasked: float           # weight of the loss on frames that were not masked (HuBERT: 0)
    batch: int = 24
    seconds: float = 2.505    # a crop; 400 + 125 x 320 samples are 126 frames
    mask_start: float = 0.08  # probability that a frame starts a mask of `mask_span` frames
    mask_span: int = 10
    warmup: float = 0.08
    dropout: float = 0.05
    every: int = 250


ITERATIONS = (Iteration("mfcc", 0, 100, steps=900, lr=1.5e-3, unmasked=1.0),
              Iteration("block", 7, 256, steps=4500, lr=1.0e-3, unmasked=0.1))


def pretrain(shape: HubertShape, pool: Pool, folder: Path, iterations: tuple[Iteration, ...] = ITERATIONS, seed: int = 0,
             device: str = "cpu") -> HubertNet:
    """Run the iterations in `folder`, each going on from its last checkpoint, each warm-started from the one before."""
    net = None
    for iteration in iterations:
        here = folder / iteration.name
        here.mkdir(parents=True, exist_ok=True)
        (here / "recipe.json").write_text(json.dumps(asdict(iteration) | {"seed": seed, "hours": pool.hours}, indent=1) + "\n")
        units = _units(iteration, net, pool, here, seed, device)
        net = _train(replace(shape, units=iteration.units), iteration, net, units, pool, here, seed, device)
    return net


def span_mask(rng: np.random.Generator, batch: int, frames: int, start: float, span: int) -> Tensor:
    """(B, T) True where masked: each frame starts a masked span with probability `start`."""
    starts = rng.random((batch, frames)) < start
    mask = np.zeros_like(starts)
    for shift in range(span):
        mask[:, shift:] |= starts[:, : frames - shift]
    mask[:, 0] |= ~mask.any(1)               # a row without a mask would have no loss
    return torch.from_numpy(mask)


def _train(shape: HubertShape, it: Iteration, warm: HubertNet | None, units: list[np.ndarray], pool: Pool, folder: Path,
           seed: int, device: str) -> HubertNet:
    torch.manual_seed(seed)
    model = nn.Module()
    model.net = HubertNet(shape)
    model.mask_embedding = nn.Parameter(torch.empty(shape.dim).uniform_())
    if warm is not None:                     # all but the head, whose units are new
        old = {k: v for k, v in warm.state_dict().items() if not k.startswith("head.label")}
        model.net.load_state_dict(old, strict=False)
    for block in model.net.encoder.layers:
        block.dropout = it.dropout
    model.to(device)
    samples = int(it.seconds * SAMPLE_RATE)
    frames = frame_counts(samples)
    amp = torch.autocast(device.split(":")[0], torch.bfloat16)

    def forward(rng, held_out: bool) -> tuple[list[Tensor], Tensor, Tensor]:
        wavs, places = pool.crops(rng, it.batch, samples, held_out=held_out)
        target = torch.from_numpy(np.stack([units[c][s: s + frames] for c, s in places])).long()
        if not held_out:
            wavs = pool.add_noise(wavs, rng)
        mask = span_mask(rng, it.batch, frames, it.mask_start, it.mask_span)
        with amp:
            x = model.net.project(wavs.to(device), torch.full((it.batch,), samples, device=device))
            x = torch.where(mask[..., None].to(device), model.mask_embedding.to(x.dtype), x)
            states = list(model.net.blocks(model.net.position(x), None))
        return states, mask.to(device), target.to(device)

    def loss(i: int) -> Tensor:
        states, mask, target = forward(np.random.default_rng(loop.step_seed(seed, i)), False)
        with amp:
            logits = model.net.head(states[-1])
        ce = F.cross_entropy(logits.flatten(0, 1).float(), target.flatten(), reduction="none")
        mask = mask.flatten()
        return ce[mask].mean() + it.unmasked * ce[~mask].mean()

    def look() -> dict[str, float]:
        """Accuracy on held-out clean speech, at masked and unmasked frames, and at masked frames with every second block's output."""
        hits, count = np.zeros(len(model.net.encoder.layers) + 1), 0
        rng = np.random.default_rng(seed)
        for _ in range(8):
            states, mask, target = forward(rng, True)
            for k, x in enumerate(states):
                hits[k] += float((model.net.head(x.float()).argmax(-1) == target)[mask].sum())
            hits[-1] += float((model.net.head(states[-1].float()).argmax(-1) == target)[~mask].sum()) * float(mask.sum()) / float((~mask).sum())
            count += int(mask.sum())
        return {f"masked@{k}": hits[k - 1] / count for k in range(2, len(states) + 1, 2)} | {"unmasked": hits[-1] / count}

    optimiser = torch.optim.AdamW(model.parameters(), it.lr, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
    ramp = int(it.warmup * it.steps)
    loop.train(model, loss, optimiser, steps=it.steps, every=it.every, folder=folder, seed=seed, clip=5.0, device=device, look=look,
               schedule=lambda s: min((s + 1) / ramp, max(0.02, (it.steps - s) / (it.steps - ramp))),
               what=f"hubert, iteration {it.name}: {pool.hours:.1f} h, {it.units} units")
    for block in model.net.encoder.layers:
        block.dropout = 0.0
    return model.net.eval()


def _units(it: Iteration, net: HubertNet | None, pool: Pool, folder: Path, seed: int, device: str) -> list[np.ndarray]:
    """One unit a frame for every clip of the pool, cached in `folder`."""
    file = folder / "units.npz"
    if file.exists():
        with np.load(file) as flat:
            return np.split(flat["units"], flat["ends"][:-1])
    cluster = need("sklearn.cluster", "clustering units", "pip install -c constraints.txt scikit-learn")
    from tqdm import tqdm
    features = _mfcc(pool) if it.layer == 0 else _block_states(net, it.layer, pool, device)
    rng = np.random.default_rng(seed)
    sample = np.concatenate([features(i) for i in rng.permutation(len(pool.clips))[:1200]])
    means = cluster.MiniBatchKMeans(it.units, batch_size=10_000, n_init=5, max_no_improvement=100, random_state=seed,
                                    reassignment_ratio=0.0).fit(sample)
    labels = [means.predict(features(i)).astype(np.int16)
              for i in tqdm(range(len(pool.clips)), desc=f"units of iteration {it.name}", file=sys.stderr, unit="clip", mininterval=1)]
    np.savez(file.with_suffix(".tmp.npz"), units=np.concatenate(labels), ends=np.cumsum([len(x) for x in labels]))
    file.with_suffix(".tmp.npz").rename(file)
    return labels


def _mfcc(pool: Pool) -> Callable[[int], np.ndarray]:
    """13 MFCCs with deltas and delta-deltas, 25 ms windows every 20 ms (the convolutions' own frames), standardised a clip."""
    torchaudio = need("torchaudio", "MFCC units", "pip install -c constraints.txt torchaudio")
    import torchaudio.compliance.kaldi

    def features(clip: int) -> np.ndarray:
        wav = torch.from_numpy(pool.wav(clip))[None] * 32768
        mfcc = torchaudio.compliance.kaldi.mfcc(wav, frame_shift=20.0, frame_length=25.0, use_energy=False, dither=0.0)
        delta = torchaudio.functional.compute_deltas(mfcc.T).T
        x = torch.cat([mfcc, delta, torchaudio.functional.compute_deltas(delta.T).T], 1)
        return ((x - x.mean(0)) / (x.std(0) + 1e-5)).numpy()
    return features


def _block_states(net: HubertNet, layer: int, pool: Pool, device: str) -> Callable[[int], np.ndarray]:
    net = net.eval().to(device)

    @torch.no_grad()
    def features(clip: int) -> np.ndarray:
        wav = torch.from_numpy(pool.wav(clip))[None].to(device)
        with torch.autocast(device.split(":")[0], torch.bfloat16):
            x = net.position(net.project(wav, torch.tensor([wav.shape[1]], device=device)))
            for depth, state in enumerate(net.blocks(x, None), 1):
                if depth == layer:
                    return state[0].float().cpu().numpy()
    return features
