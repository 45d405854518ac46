"""A small system that spells, and a corpus that it learns in seconds: every letter is a tone."""

from dataclasses import replace
from pathlib import Path

import torch
from earlyexit_superb.benchmark.contract import Corpus, Example, Item, TrainingData, TrainingRun
from earlyexit_superb.tasks.asr import RECOGNITION
from earlyexit_superb.upstreams.backbones.hubert_shape import HubertShape
from earlyexit_superb.upstreams.backbones.pretrained import PretrainedEncoder
from earlyexit_superb.upstreams.recognition.finetuned import PRETRAINED, Finetuned
from earlyexit_superb.upstreams.recognition.heads import HeadShape
from earlyexit_superb.upstreams.training import recognition
from earlyexit_superb.upstreams.training.recognition_recipe import RecognitionRecipe

SHAPE = HubertShape(
    dim=24, depth=3, heads=2, ffn=48, conv_dim=16, pos_kernel=16, pos_groups=4, units=0
)
TONES = {"A": 300, "B": 700, "C": 1500, " ": 0}  # Hz
LETTER = 2000  # samples of one
RECIPE = RecognitionRecipe(
    steps=6, every=3, batch=4, lr=1e-3, head_lr=1e-2, mask_prob=0.2, mask_width=2, layerdrop=0.2
)


class SmallEncoder(PretrainedEncoder):
    family, shapes, published = "small", {"small": SHAPE}, {}
    source = "tests/helpers/spelling.py"


class Small(Finetuned):
    """Exits at 1 and 2, of one kind of head, and one at the end."""

    called, paper = "small", "tests/helpers/spelling.py"
    encoders = {"small": SmallEncoder}

    def __init__(
        self,
        tag: str = "small",
        weights: str = "random",
        criterion: str = "entropy",
        alphabet: str = "",
        seed: int = 0,
        head: str = "separate",
        **more,
    ):
        shapes = dict.fromkeys((1, 2, 3), HeadShape())
        super().__init__(tag, weights, criterion, alphabet, seed, shapes, head == "tied", **more)


def said(text: str) -> torch.Tensor:
    """(N,): the tones of its letters, one after the other."""
    time = torch.arange(LETTER) / 16_000
    return torch.cat([0.3 * torch.sin(2 * torch.pi * TONES[c] * time) for c in text])


def transcribed(train=8, dev=3, texts=None) -> TrainingData:
    """Words of one to four letters.

    Args:
        texts: of the training split, instead of made ones.
    """
    draw = torch.Generator().manual_seed(0)

    def text() -> str:
        words = torch.randint(1, 3, (), generator=draw)
        lengths = torch.randint(1, 5, (int(words),), generator=draw)
        letters = [torch.randint(3, (int(n),), generator=draw).tolist() for n in lengths]
        return " ".join("".join("ABC"[i] for i in word) for word in letters)

    def items(split: str, texts: list[str]) -> list[Item]:
        return [
            Item(f"{split}{i}", Path(split), LETTER * len(text), more={"text": text})
            for i, text in enumerate(texts)
        ]

    splits = {
        "train": items("train", [text() for _ in range(train)] if texts is None else texts),
        "dev": items("dev", [text() for _ in range(dev)]),
        "test": [],
    }
    corpus = Corpus("tones", "hash", splits)
    return TrainingData(task=replace(RECOGNITION, load=_load), corpus=corpus)


def _load(item: Item) -> Example:
    return Example(item.id, said(item.more["text"]), item.more["text"])


def run_in(folder: Path = Path(), **changes) -> TrainingRun:
    about = {"name": "small", "tag": "small", "options": {}} | changes
    return TrainingRun(out=folder, work=folder / "small", **about)


def tune(folder: Path, data: TrainingData | None = None, recipe=RECIPE, **changes) -> Path:
    """The weights of a training of Small in `folder`."""
    run = run_in(folder, **changes)
    recognition.train(recipe, data or transcribed(), run, Small, PRETRAINED)
    return run.weights


def same(one, two) -> None:
    """The same tensors by the same names."""
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
