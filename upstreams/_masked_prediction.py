"""Pre-training a small HuBERT by masked prediction of cluster units (Hsu et al., 2021, sec. III), within a few CPU hours.

Three stages, each resumable, each warm-started from the one before:

1. `front`: the convolutions learn to carry the log-mel spectrum of what they hear (a linear read-out, squared error).
   HuBERT learns them by masked prediction alone. Afterwards they are frozen and their output is kept in memory, clean and with noise.
2. `mfcc`: the blocks predict k-means units of 39-dimensional MFCCs at masked frames (HuBERT's first iteration).
3. `block`: units of a middle block of stage 2's model (HuBERT's second iteration).

Units are always those of clean speech; half of each batch is heard with noise, so the blocks learn to see through it. In
stage 3 the last block must also still tell the clean convolution output (`carry`), so that deep states keep some of what
speech sounded like. HuBERT has no such term.

`warm=FILE` goes on from trained weights instead of stages 1 and 2: units of that model's middle block, then stage 3.
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
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..benchmark import loop, ranks
from ..benchmark.contract import SAMPLE_RATE
from ..benchmark.errors import UsageError, closest, need
from ..benchmark.paths import atomic, write_text
from ..benchmark.registry import as_type_of
from ._hubert import STRIDE, HubertNet, HubertShape
from ._hubert_weights import content_hash, load, save
from ._pool import Pool

MELS = 80


@dataclass(frozen=True)
class Recipe:
    """Everything a setting may change: `--set block_steps=20000`. Everything not named here is HuBERT's."""
    warm: str = ""                 # weights to go on from
    front_steps: int = 1500
    front_lr: float = 2.0e-3
    mfcc_steps: int = 900
    mfcc_units: int = 100
    mfcc_carry: float = 0.0
    mfcc_unmasked: float = 1.0     # weight of the loss on frames that were not masked (HuBERT: 0); 1 leaves the first plateau
    block_steps: int = 2000
    block_carry: float = 2.0       # weight of the error with which the last block still tells the clean convolution output
    block_units: int = 256
    block_layer: int = 7           # units are clusters of this block's output
    block_unmasked: float = 0.1
    lr: float = 1.0e-3
    batch: int = 24                # crops
    frames: int = 125              # of a crop: 2.5 s
    mask_start: float = 0.08       # probability that a frame starts a masked span
    mask_span: int = 10            # frames
    noisy: float = 0.5             # share of a batch heard with noise
    warmup: float = 0.08
    every: int = 250


def fit_backbone(shape: HubertShape, name: str, data: list[Path], noise: list[Path], out: Path, seed: int, device: str,
                 settings: dict[str, str]) -> Path:
    """All stages in `out`; writes out/<name>.safetensors (fp16, with its SSL head) and a card beside it."""
    fields = Recipe.__dataclass_fields__
    for key in settings:
        if key not in fields:
            raise UsageError(f"train {name} has no setting {key!r}: {closest(key, fields)}")
    recipe = Recipe(**{k: as_type_of(fields[k].default, v, f"train {name}: {k}") for k, v in settings.items()})
    ranks.own(recipe.batch)
    pool = Pool(data, noise)
    out.mkdir(parents=True, exist_ok=True)
    facts = asdict(recipe) | {"seed": seed, "hours": pool.sources}
    write_text(out / "recipe.json", json.dumps(facts, indent=1) + "\n")
    if recipe.warm:
        net = load(recipe.warm, shape)[0].to(device)
        heard = Heard(net, pool, seed, device)
    else:
        net = _front(shape, recipe, pool, out / "front", seed, device)
        heard = Heard(net, pool, seed, device)
        units = _units(_mfcc(pool), recipe.mfcc_units, pool, out / "mfcc", seed)
        net = _masked(replace(shape, units=recipe.mfcc_units), recipe, "mfcc", net, heard, units, out / "mfcc", seed, device)
    units = _units(_block_states(net, heard, recipe.block_layer, device), recipe.block_units, pool, out / "block", seed)
    net = _masked(replace(shape, units=recipe.block_units), recipe, "block", net, heard, units, out / "block", seed, device)
    path = out / f"{name}.safetensors"
    if not ranks.leads():
        return path
    save(net.cpu(), path)
    logs = {log.parent.name: json.loads(log.read_text().splitlines()[-1]) for log in sorted(out.glob("*/log.jsonl"))}
    write_text(path.with_suffix(".json"), json.dumps({
        "name": name, "revision": content_hash(net.half().float()), "parameters": sum(p.numel() for p in net.parameters()),
        "shape": asdict(net.shape), "recipe": asdict(recipe) | {"warm": Path(recipe.warm).name}, "warm_from": _card(recipe.warm), "seed": seed,
        "hours": {k: round(v, 3) for k, v in pool.sources.items()}, "last_look": logs}, indent=1) + "\n")
    return path


def _card(weights: str) -> dict | None:
    """What the card beside the weights gone on from says of their own training."""
    beside = Path(weights or "none").with_suffix(".json")
    return json.loads(beside.read_text()) if beside.exists() else None


# ---- stage 1 ------------------------------------------------------------------------------------------------------------

def _front(shape: HubertShape, recipe: Recipe, pool: Pool, folder: Path, seed: int, device: str) -> HubertNet:
    torch.manual_seed(seed)
    model = nn.Module()
    model.net, model.read_out = HubertNet(shape), nn.Linear(shape.conv_dim, MELS)
    initialise(model.net)
    model.to(device)
    samples, log_mel = 32 * STRIDE + 80, _log_mel()

    def loss_on(rng: np.random.Generator, held_out: bool) -> Tensor:
        wavs, _ = pool.crops(rng, 2 * recipe.batch, samples, held_out=held_out)
        wavs = pool.add_noise(wavs, rng, recipe.noisy)
        wavs = wavs if held_out else wavs[ranks.own(len(wavs))]
        target = log_mel(wavs).to(device)
        with _half(device):
            x = model.net.feature_extractor(wavs.to(device), torch.full((len(wavs),), samples, device=device))
            guess = model.read_out(model.net.feature_projection.layer_norm(x))
        return F.mse_loss(guess.float(), target)

    parameters = [*model.net.feature_extractor.parameters(), *model.net.feature_projection.layer_norm.parameters(),
                  *model.read_out.parameters()]
    steps = recipe.front_steps
    schedule = loop.Schedule(steps, min(recipe.every, 100), clip=1.0, factor=lambda s: min((s + 1) / 40, max(0.02, (steps - s) / steps)))
    loop.train(model, lambda i: loss_on(np.random.default_rng(loop.step_seed(seed, i)), False), torch.optim.AdamW(parameters, recipe.front_lr),
               schedule, folder=folder, seed=seed, device=device, look=lambda: {"log_mel_error": loss_on(np.random.default_rng(seed), True)},
               what=f"front-end, {pool.hours:.1f} h")
    return model.net.eval()


def initialise(net: HubertNet) -> None:
    """BERT's small normal weights; the residual branches smaller still, so that twelve post-norm blocks start near identity."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
    for block in net.encoder.layers:
        for last in (block.attention.out_proj, block.feed_forward.output_dense):
            nn.init.normal_(last.weight, std=0.02 / (2 * net.shape.depth) ** 0.5)
    nn.init.normal_(net.feature_projection.projection.weight, std=net.shape.conv_dim**-0.5)
    nn.init.normal_(net.encoder.pos_conv_embed.conv.weight, std=(4 / (net.shape.pos_kernel * net.shape.dim)) ** 0.5)
    nn.init.normal_(net.head.label_embs_concat)


class Heard:
    """Every clip after the frozen convolutions, (T, C) fp16: clean, and with noise at one ratio a clip."""

    def __init__(self, net: HubertNet, pool: Pool, seed: int, device: str):
        from tqdm import tqdm
        self.pool, self.clean, self.noisy = pool, [], []
        rng = np.random.default_rng(seed)
        for clip in tqdm(range(len(pool.clips)), desc="front-end over the pool", file=sys.stderr, unit="clip", mininterval=1):
            wav = torch.from_numpy(pool.wav(clip))[None]
            both = torch.cat([wav, pool.add_noise(wav, rng, share=1.0)]).to(device)
            with torch.no_grad(), _half(device):
                if device == "cpu":                  # as an upstream there: one by one, without padding
                    clean, noisy = (net.feature_extractor.alone(x) for x in both)
                else:
                    clean, noisy = net.feature_extractor(both, torch.full((2,), wav.shape[1]))
            self.clean.append(clean.half().cpu())
            self.noisy.append(noisy.half().cpu())

    def crops(self, rng: np.random.Generator, recipe: Recipe, held_out: bool) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
        """(B, T, C) as heard, the same clean, and where each was taken: (clip, first frame). Held-out crops are clean."""
        clips = rng.choice(self.pool.held_out, recipe.batch) if held_out else rng.choice(self.pool.training, recipe.batch, p=self.pool.share)
        rows, clean, places = [], [], []
        for clip in map(int, clips):
            start = int(rng.integers(0, len(self.clean[clip]) - recipe.frames + 1))
            source = self.noisy if not held_out and rng.random() < recipe.noisy else self.clean
            rows.append(source[clip][start: start + recipe.frames])
            clean.append(self.clean[clip][start: start + recipe.frames])
            places.append((clip, start))
        return torch.stack(rows).float(), torch.stack(clean).float(), places


# ---- stages 2 and 3 -----------------------------------------------------------------------------------------------------

def span_mask(rng: np.random.Generator, batch: int, frames: int, start: float, span: int) -> Tensor:
    """(B, T) True where masked: each frame starts a masked span with probability `start`."""
    starts = rng.random((batch, frames)) < start
    mask = np.zeros_like(starts)
    for shift in range(span):
        mask[:, shift:] |= starts[:, : frames - shift]
    mask[:, 0] |= ~mask.any(1)               # a row without a mask would have no loss
    return torch.from_numpy(mask)


def _masked(shape: HubertShape, recipe: Recipe, stage: str, warm: HubertNet, heard: Heard, units: list[np.ndarray], folder: Path,
            seed: int, device: str) -> HubertNet:
    torch.manual_seed(seed)
    model = nn.Module()
    model.net, model.mask_embedding = HubertNet(shape), nn.Parameter(torch.empty(shape.dim).uniform_())
    model.carried = nn.Linear(shape.dim, shape.conv_dim)
    initialise(model.net)
    kept = {k: v for k, v in warm.state_dict().items() if not k.startswith("head.label")}     # the units are new
    model.net.load_state_dict(kept, strict=False)
    model.net.feature_extractor.requires_grad_(False)
    model.to(device)
    steps, unmasked, carry = (getattr(recipe, f"{stage}_{field}") for field in ("steps", "unmasked", "carry"))
    amp = _half(device)

    def forward(rng: np.random.Generator, held_out: bool) -> tuple[list[Tensor], Tensor, Tensor, Tensor, int]:
        x, clean, places = heard.crops(rng, recipe, held_out)
        target = torch.from_numpy(np.stack([units[clip][s: s + recipe.frames] for clip, s in places])).long()
        mask = span_mask(rng, recipe.batch, recipe.frames, recipe.mask_start, recipe.mask_span)
        masked = int(mask.sum())                     # of the whole batch, whoever computes which rows
        if not held_out:
            x, clean, target, mask = (t[ranks.own(recipe.batch)] for t in (x, clean, target, mask))
        with amp, sdpa_kernel(SDPBackend.MATH):      # plain matrix products: bf16 suits them on a CPU
            x = model.net.feature_projection.projection(model.net.feature_projection.layer_norm(x.to(device)))
            x = torch.where(mask[..., None].to(device), model.mask_embedding.to(x.dtype), x)
            states = list(model.net.blocks(model.net.position(x), None))
        return states, mask.to(device), target.to(device), F.layer_norm(clean.to(device), clean.shape[-1:]), masked

    def loss(i: int) -> Tensor:
        states, mask, target, clean, masked = forward(np.random.default_rng(loop.step_seed(seed, i)), False)
        opened, size = recipe.batch * recipe.frames - masked, ranks.place()[1]
        with amp:
            logits, told = model.net.head(states[-1]), model.carried(states[-1])
        ce = F.cross_entropy(logits.flatten(0, 1).float(), target.flatten(), reduction="none")
        return size * (ce[mask.flatten()].sum() / masked + unmasked * ce[~mask.flatten()].sum() / opened
                       + carry * (told.float() - clean)[~mask].square().mean(-1).sum() / opened)

    def look() -> dict[str, float]:
        """On held-out clean speech: how often the head names the right unit at masked frames, from every second block's output."""
        rng, right, masked, open_right, opened, error = np.random.default_rng(seed), np.zeros(shape.depth + 1), 0, 0, 0, 0.0
        for _ in range(8):
            states, mask, target, clean, _ = forward(rng, True)
            error += float((model.carried(states[-1].float()) - clean)[~mask].square().mean()) / 8
            guesses = [model.net.head(x.float()).argmax(-1) == target for x in states]
            for k, right_here in enumerate(guesses, 1):
                right[k] += int(right_here[mask].sum())
            masked, open_right, opened = masked + int(mask.sum()), open_right + int(guesses[-1][~mask].sum()), opened + int((~mask).sum())
        return {f"masked@{k}": right[k] / masked for k in range(2, shape.depth + 1, 2)} | {
            "unmasked": open_right / opened, "carry_error": error}

    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], recipe.lr, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
    ramp = max(1, int(recipe.warmup * steps))
    schedule = loop.Schedule(steps, recipe.every, clip=5.0, factor=lambda s: min((s + 1) / ramp, max(0.02, (steps - s) / (steps - ramp))))
    loop.train(model, loss, optimiser, schedule, folder=folder, seed=seed, device=device, look=look,
               what=f"hubert, {stage} units: {heard.pool.hours:.1f} h")
    return model.net.eval()


def _units(features: Callable[[int], np.ndarray], count: int, pool: Pool, folder: Path, seed: int) -> list[np.ndarray]:
    """One unit a frame for every clip of the pool, kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with ranks.in_turn():
        return _clustered(features, count, pool, folder, seed)


def _clustered(features: Callable[[int], np.ndarray], count: int, pool: Pool, folder: Path, seed: int) -> list[np.ndarray]:
    file = folder / "units.npz"
    if file.exists():
        with np.load(file) as flat:
            return np.split(flat["units"], flat["ends"][:-1])
    cluster = need("sklearn.cluster", "clustering units", "train")
    from tqdm import tqdm
    rng = np.random.default_rng(seed)
    sample = np.concatenate([features(i) for i in rng.permutation(len(pool.clips))[:1200]])
    means = cluster.MiniBatchKMeans(count, batch_size=10_000, n_init=3, max_no_improvement=50, random_state=seed,
                                    reassignment_ratio=0.0).fit(sample)
    labels = [means.predict(features(i)).astype(np.int16)
              for i in tqdm(range(len(pool.clips)), desc=f"{folder.name} units", file=sys.stderr, unit="clip", mininterval=1)]
    with atomic(file, durable=True) as beside, open(beside, "wb") as out:
        np.savez(out, units=np.concatenate(labels), ends=np.cumsum([len(x) for x in labels]))
    return labels


def _log_mel() -> Callable[[Tensor], Tensor]:
    """(B, N) -> (B, T, MELS) on the convolutions' own frames (25 ms every 20 ms), zero mean and unit variance a row."""
    torchaudio = need("torchaudio", "log-mel targets", "torchaudio")
    transform = torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, n_fft=512, win_length=400, hop_length=STRIDE, n_mels=MELS, center=False)

    def log_mel(wavs: Tensor) -> Tensor:
        x = (transform(F.pad(wavs, (56, 56))) + 1e-6).log().mT          # a 512-point transform around each 400-sample window
        return (x - x.mean((1, 2), keepdim=True)) / (x.std((1, 2), keepdim=True) + 1e-5)
    return log_mel


def _mfcc(pool: Pool) -> Callable[[int], np.ndarray]:
    """Clip number -> (T, 39): 13 MFCCs with deltas and delta-deltas on the same frames, standardised over the clip."""
    torchaudio = need("torchaudio", "MFCC units", "torchaudio")
    transform = torchaudio.transforms.MFCC(SAMPLE_RATE, 13, melkwargs={"n_fft": 512, "win_length": 400, "hop_length": STRIDE,
                                                                       "n_mels": 40, "center": False})
    deltas = torchaudio.functional.compute_deltas

    def features(clip: int) -> np.ndarray:
        mfcc = transform(F.pad(torch.from_numpy(pool.wav(clip)), (56, 56)))
        x = torch.cat([mfcc, deltas(mfcc), deltas(deltas(mfcc))]).T
        return ((x - x.mean(0)) / (x.std(0) + 1e-5)).numpy()
    return features


def _block_states(net: HubertNet, heard: Heard, layer: int, device: str) -> Callable[[int], np.ndarray]:
    """Clip number -> (T, D) clean states of block `layer`."""
    @torch.no_grad()
    def features(clip: int) -> np.ndarray:
        with _half(device):
            x = heard.clean[clip][None].float().to(device)
            x = net.position(net.feature_projection.projection(net.feature_projection.layer_norm(x)))
            for depth, state in enumerate(net.blocks(x, None), 1):
                if depth == layer:
                    return state[0].float().cpu().numpy()
    return features


def _half(device: str) -> torch.autocast:
    """bfloat16 where the hardware multiplies in it; a CPU that does not is many times slower at it."""
    kind, able = device.split(":")[0], torch.cpu.get_capabilities()
    return torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu" or able["avx512_bf16"] or able["amx_bf16"])
