"""The smallest upstream that is trained through the contract, by all that a training may have.

From a teacher's states or from loudness, on speech without labels or on a labelled corpus (of `se`:
from noisy speech it tells the loudness of the clean).
"""

from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from earlyexit_superb.benchmark import distributed, trainer
from earlyexit_superb.benchmark.audio import read
from earlyexit_superb.benchmark.contract import Recipe, Training, Upstream, UpstreamCard, setting
from earlyexit_superb.benchmark.training_data import files
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

SAMPLES = 8000


@dataclass(frozen=True)
class StudentRecipe(Recipe):
    steps: int = setting(8, "optimiser updates")
    lr: float = setting(0.01, "of Adam")
    batch: int = setting(4, "crops")
    every: int = setting(2, "steps between two looks")
    depth: int = setting(2, "of the teacher: the state to tell")


def train(recipe, data, run):
    torch.manual_seed(run.seed)
    student = Student(weights="random", dim=run.options.get("dim", 16))
    teller = nn.Linear(student.card.dim, run.teacher.card.dim if run.teacher else 1)
    model = nn.ModuleList([student, teller]).to(run.device)
    paths = [p for f in data.speech for p in files(f)]
    items = data.corpus.splits["train"] if data.corpus else paths

    def example(row):
        """(SAMPLES,) heard, and what is to be told of it: (SAMPLES,)."""
        if data.corpus:
            found = data.task.load(items[row])
            heard, asked = found.wav, found.target
        else:
            heard = asked = torch.from_numpy(read(items[row]))
        return heard[:SAMPLES], torch.as_tensor(asked)[:SAMPLES]

    def loss(i):
        rows = np.random.default_rng([run.seed, i]).integers(0, len(items), recipe.batch)
        pairs = [example(row) for row in rows[distributed.share(recipe.batch)]]
        heard, asked = (torch.stack(wavs).to(run.device) for wavs in zip(*pairs, strict=True))
        told = teller(list(student.states(heard, torch.full((len(heard),), SAMPLES)))[-1])
        return F.mse_loss(told, wanted(asked))

    def wanted(wavs):
        """(B, N) -> (B, T, ...): the teacher's states, or the loudness of each frame."""
        if run.teacher is None:
            return (wavs.unfold(1, 320, 320).square().mean(-1, keepdim=True) + 1e-4).log()
        with torch.no_grad():
            states = run.teacher.states(wavs, torch.full((len(wavs),), wavs.shape[1]))
            state = next(islice(states, recipe.depth, None))
        return F.interpolate(state.mT, wavs.shape[1] // 320).mT

    trainer.train(
        model,
        loss,
        torch.optim.Adam(model.parameters(), recipe.lr),
        trainer.Schedule(recipe.steps, recipe.every),
        folder=run.work / "steps",
        seed=run.seed,
        device=run.device,
        what=run.name,
        validate=lambda: {"error": loss(10_000)},
    )
    if distributed.is_leader():
        save_file(student.cpu().state_dict(), run.weights)


class Student(Upstream):
    trained_by = Training(
        "a convolution and two layers, from another upstream's states or from loudness",
        {"quick": StudentRecipe(source="tests/toys/student.py")},
        train,
        options=("dim",),
        labels="optional",
        teacher="optional",
    )

    def __init__(self, weights: str = "random", dim: int = 16):
        super().__init__()
        self.front = nn.Conv1d(1, dim, 320, 320)
        self.blocks = nn.ModuleList(nn.Linear(dim, dim) for _ in range(2))
        if weights != "random":
            self.load_state_dict(load_file(weights))
        self.card = UpstreamCard("student", 2, dim, 320, weights, "tests/toys/student.py")

    def states(self, wavs, lengths):
        x = self.front(F.pad(wavs, (0, -wavs.shape[-1] % 320))[:, None]).mT
        keep = yield x
        for block in self.blocks:
            x = x if keep is None else x[keep]
            x = x + block(x).tanh()
            keep = yield x


class Distilled(Student):
    """Learns from a teacher and labels, or not at all."""

    trained_by = Training(
        "as Student",
        {"quick": StudentRecipe(source="tests/toys/student.py")},
        train,
        labels="needed",
        teacher="needed",
    )
