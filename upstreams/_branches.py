"""DAISY's branches: one linear classifier a block, with bias, guessing the units HuBERT's own head names (DAISY, sec. 3.1).

The backbone is frozen, in evaluation mode and hears no masks; cross-entropy over all frames, summed over blocks, which are
independent. A backbone without its self-supervised head (Hugging Face and torchaudio checkpoints carry none) gets k-means
units of a middle block as targets instead, and the card says so.
"""
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..benchmark import loop, ranks
from ..benchmark.contract import SAMPLE_RATE
from ..benchmark.errors import UsageError, need
from ..benchmark.paths import write_text
from ..benchmark.registry import as_type_of
from ._pool import Pool
from .hubert import Hubert


@dataclass(frozen=True)
class Recipe:
    """The paper: 88,000 steps of batch 32, lr 5e-5 on 960 h. These defaults are for a tiny model and a few hours."""
    steps: int = 2400
    lr: float = 5e-3
    frames: int = 4096          # of a step, drawn from what was heard last
    every: int = 600            # steps between two hearings: the upstream runs once for many steps of twelve small layers
    heard: int = 48             # batches of a hearing
    batch: int = 16             # crops
    seconds: float = 2.505
    noisy: float = 0.0          # share of the crops heard with noise; the paper's branches hear clean speech, so noise leaves them unsure
    fallback_units: int = 500   # only without a self-supervised head
    fallback_block: int = 7


def load(source: str, hubert: Hubert, seed: int) -> tuple[nn.ModuleList, str]:
    """Branches from a safetensors file (or "random"), and their revision."""
    from safetensors import safe_open

    from ._hubert_weights import content_hash
    dim, blocks = hubert.card.dim, hubert.card.depth
    if source == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _full_width(nn.ModuleList(nn.Linear(dim, hubert.net.shape.units) for _ in range(blocks))), f"random-{seed}"
    if not source or not Path(source).is_file():
        raise UsageError(f"daisy: there are no trained branches at {source or 'any known place for this tag'}; train them with: "
                         "run_benchmark.py train daisy.<tag> --data DIR --out DIR, and name the file with --set branches=FILE")
    with safe_open(source, "pt") as file:
        trained_on = (file.metadata() or {}).get("backbone", "")
        state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118  safe_open is no mapping
    if trained_on != hubert.card.revision:
        raise UsageError(f"daisy: the branches in {source} were trained on the backbone {trained_on or '(unnamed)'}, not on "
                         f"{hubert.card.name} {hubert.card.revision}; train them again: run_benchmark.py train daisy.<tag> --data DIR --out DIR")
    branches = nn.ModuleList(nn.Linear(dim, len(state["0.bias"])) for _ in range(blocks))
    branches.load_state_dict(state)
    revision = content_hash(branches)
    return _full_width(branches), revision


@torch.no_grad()
def _full_width(branches: nn.ModuleList) -> nn.ModuleList:
    """With rows that no frame ever chooses (probability 0), up to a multiple of 16, which is faster (tests/measure_width.py)."""
    for branch in branches:
        rows = -len(branch.bias) % 16
        branch.weight, branch.bias = nn.Parameter(F.pad(branch.weight, (0, 0, 0, rows))), nn.Parameter(F.pad(branch.bias, (0, rows), value=-1e4))
        branch.out_features += rows
    return branches


def fit(tag: str, data: list[Path], noise: list[Path], out: Path, seed: int, device: str, settings: dict[str, str]) -> Path:
    """Train the branches in `out`, going on from what is there."""
    settings = dict(settings)
    weights = settings.pop("weights", "")
    recipe = Recipe(**{k: as_type_of(_default(k), v, f"train daisy: {k}") for k, v in settings.items()})
    hubert = Hubert(tag, weights, seed=seed).to(device).eval()
    pool = Pool(data, noise)
    targets, units, said = _targets(hubert, pool, recipe, seed, device)
    torch.manual_seed(seed)
    branches = nn.ModuleList(nn.Linear(hubert.card.dim, units) for _ in range(hubert.card.depth)).to(device)
    samples, last, (rank, ranked) = int(recipe.seconds * SAMPLE_RATE), {"hearing": -1}, ranks.place()
    ranks.own(recipe.heard, "heard")

    @torch.no_grad()
    def hear(rng: np.random.Generator, held_out: bool = False, own: bool = True) -> tuple[Tensor, Tensor] | None:
        """One batch of crops: (L, frames, D) states and (frames,) targets. Another process's is drawn, and not heard."""
        wavs, _ = pool.crops(rng, recipe.batch, samples, held_out=held_out)
        wavs = wavs if held_out else pool.add_noise(wavs, rng, recipe.noisy)
        if not own:
            return None
        states = list(hubert.states(wavs.to(device), torch.full((recipe.batch,), samples, device=device)))[1:]
        return torch.stack(states).flatten(1, 2), targets(states).flatten()

    def hearing(number: int) -> tuple[Tensor, Tensor]:
        if last["hearing"] != number:
            rng = np.random.default_rng([seed, number])
            heard = (hear(rng, own=b % ranked == rank) for b in range(recipe.heard))
            parts = [(part[0].half(), part[1]) for part in heard if part]
            last.update(hearing=number, states=torch.cat([p[0] for p in parts], 1), target=torch.cat([p[1] for p in parts]))
        return last["states"], last["target"]

    # The branches learn on standardised states and are folded back into plain linear layers at the end: most of a state is
    # the same in every frame, which makes gradient descent on it as it is slow.
    first = hearing(0)[0].float()
    mean = ranks.mean(first.mean(1, keepdim=True))
    spread = ranks.mean((first - mean).square().mean(1, keepdim=True)).sqrt() + 1e-5
    del first

    def loss(i: int) -> Tensor:
        states, target = hearing(i // recipe.every)
        each = len(target) * ranked // recipe.heard                    # frames of a batch heard, by whichever process
        rows = torch.randint(len(target) * ranked, (recipe.frames,), device=target.device)
        rows = rows[rows // each % ranked == rank]
        rows = rows // each // ranked * each + rows % each
        x = (states[:, rows].float() - mean) / spread
        return sum(F.cross_entropy(branch(x[k]), target[rows], reduction="sum") for k, branch in enumerate(branches)) * ranked / recipe.frames

    optimiser = torch.optim.AdamW(branches.parameters(), recipe.lr, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.0)
    warm = max(1, int(0.08 * recipe.steps))
    schedule = loop.Schedule(recipe.steps, recipe.every, clip=10.0,
                             factor=lambda s: min((s + 1) / warm, max(0.01, (recipe.steps - s) / (recipe.steps - warm))))
    loop.train(branches, loss, optimiser, schedule, folder=out / "branches", seed=seed, device=device, what=f"daisy.{tag} branches",
               look=lambda: _look(branches, hear, mean, spread, seed))
    _fold(branches, mean, spread)
    path = out / f"daisy.{tag}.safetensors"
    if ranks.leads():
        _keep(path, branches.cpu(), hubert, {
            "targets": said, "recipe": asdict(recipe), "seed": seed, "hours": {k: round(v, 3) for k, v in pool.sources.items()},
            "held_out_clean": json.loads((out / "branches" / "log.jsonl").read_text().splitlines()[-1])})
    return path


def _keep(path: Path, branches: nn.ModuleList, hubert: Hubert, known: dict) -> None:
    """The weights, and beside them the card: what they are, what they were trained on, and what is `known` of the training."""
    from ._hubert_weights import content_hash, write
    write(branches, path, backbone=hubert.card.revision, targets=known["targets"])
    card = {"name": path.stem, "revision": content_hash(branches.half().float()), "backbone": hubert.card.name,
            "backbone_revision": hubert.card.revision} | known
    write_text(path.with_suffix(".json"), json.dumps(card, indent=1) + "\n")


@torch.no_grad()
def _look(branches: nn.ModuleList, hear: Callable, mean: Tensor, spread: Tensor, seed: int) -> dict[str, float]:
    """Entropy (nats per frame) and agreement by block, on held-out clean speech."""
    rng, entropy, right, rounds = np.random.default_rng(seed), np.zeros(len(branches)), np.zeros(len(branches)), 8
    for _ in range(rounds):
        states, target = hear(rng, held_out=True)
        for k, branch in enumerate(branches):
            logits = branch((states[k] - mean[k]) / spread[k])
            entropy[k] += float(torch.special.entr(logits.softmax(-1)).sum(-1).mean()) / rounds
            right[k] += float((logits.argmax(-1) == target).float().mean()) / rounds
    return {f"entropy@{k}": e for k, e in enumerate(entropy, 1)} | {f"agreement@{k}": r for k, r in enumerate(right, 1)}


@torch.no_grad()
def _fold(branches: nn.ModuleList, mean: Tensor, spread: Tensor) -> None:
    """Branches on standardised states become the same branches on states as they are."""
    for k, branch in enumerate(branches):
        branch.weight /= spread[k]
        branch.bias -= branch.weight @ mean[k, 0]


def _default(key: str):
    if key not in Recipe.__dataclass_fields__:
        from ..benchmark.errors import closest
        raise UsageError(f"train daisy has no setting {key!r}: {closest(key, Recipe.__dataclass_fields__)}")
    return Recipe.__dataclass_fields__[key].default


def _targets(hubert: Hubert, pool: Pool, recipe: Recipe, seed: int, device: str):
    """(all block states -> (B, T) targets), how many units, and how the card names them."""
    if hubert.unit_count:
        return (lambda states: hubert.units(states[-1])), hubert.unit_count, "argmax of the backbone's self-supervised head"
    cluster = need("sklearn.cluster", "clustering units", "train")
    block, rng, samples = recipe.fallback_block, np.random.default_rng(seed), int(recipe.seconds * SAMPLE_RATE)
    frames = []
    with torch.no_grad():
        for _ in range(32):
            wavs, _ = pool.crops(rng, recipe.batch, samples)
            for depth, state in enumerate(hubert.states(wavs.to(device), torch.full((recipe.batch,), samples, device=device))):
                if depth == block:
                    frames.append(state.flatten(0, 1).cpu().numpy())
                    break
    means = cluster.MiniBatchKMeans(recipe.fallback_units, batch_size=10_000, n_init=3, random_state=seed).fit(np.concatenate(frames))
    centres = torch.from_numpy(means.cluster_centers_).float()
    return ((lambda states: torch.cdist(states[block - 1], centres[None].to(states[0])).argmin(-1)), recipe.fallback_units,
            f"k-means, {recipe.fallback_units} units of block {block} (the checkpoint has no self-supervised head)")
