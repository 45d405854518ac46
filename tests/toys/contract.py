"""What the contract carries beyond the plain `Toy`: one small upstream a line of it."""

from dataclasses import replace

import torch
from earlyexit_superb.benchmark.calibration import midpoint
from earlyexit_superb.benchmark.contract.wrapper import ExitRule, WaveformTransform
from earlyexit_superb.benchmark.masking import masked_mean
from earlyexit_superb.benchmark.registry import build_upstream
from torch import nn
from torch.nn import functional as F
from toys.toy import Toy

LETTERS = " ABCDEFGH"  # of what a self-answering toy says; 0 is the blank


class SelfAnswering(ExitRule):
    """The first six blocks of hubert.tiny, branches at 2 and 4, a final one at 6; evidence is the
    entropy of the answer."""

    knob, knob_values, spans = "rho", (1.0,), ("mean", "min-max")
    answers, evidence_reads_answer, exits = ("asr",), True, (2, 4)
    passed_on = ()
    calls = 0  # of `answer`, in rows

    def __init__(self):
        inner = build_upstream("hubert.tiny").with_blocks(range(1, 7))
        super().__init__(
            inner,
            "selfanswering",
            "tests/toys/contract.py",
            "entropy of the answer, nats per frame",
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.heads = nn.ModuleList(nn.Linear(192, len(LETTERS)) for _ in range(6))
        self.card = replace(self.card, tuned_on="nothing", tasks=("asr",))

    @property
    def backbone(self):
        return self

    def answer(self, depth, state, frames):
        type(self).calls += len(state)
        head = self.heads[depth - 1]
        return [20 * head(row[:n]) for row, n in zip(state, frames.tolist(), strict=True)]

    def evidence(self, depth, state, previous, frames, answer):
        return torch.stack([torch.special.entr(a.softmax(-1)).sum(-1).mean() for a in answer])

    def decode(self, answer, task):
        best = answer.argmax(-1).unique_consecutive().tolist()
        return "".join(LETTERS[i] for i in best if i).strip() or "A"

    def tau(self, evidence, value):
        return midpoint(evidence, value)

    def answer_macs(self, samples, depth):
        return int(self.frames(torch.tensor(samples))) * 192 * len(LETTERS)


class AnswersAfterwards(SelfAnswering):
    """Exits by what the states change, and answers once, where it left (a two-step system)."""

    evidence_reads_answer = False

    def evidence(self, depth, state, previous, frames):
        return masked_mean(1 - F.cosine_similarity(state, previous, dim=-1), frames)

    def evidence_macs(self, samples, depth):
        return 3 * int(self.frames(torch.tensor(samples))) * 192


class Slow(Toy):
    """One frame every 40 ms."""

    def __init__(self):
        super().__init__(stride=640)


class Slower(Toy):
    """One frame every 60 ms."""

    def __init__(self):
        super().__init__(stride=960)


class TwoBlocks(Toy):
    """The smallest depth with a choice."""

    def __init__(self):
        super().__init__(blocks=2)
        self.card = replace(self.card, name="twoblocks")


class Tuned(Toy):
    """As if fine-tuned for recognition."""

    def __init__(self):
        super().__init__()
        self.card = replace(self.card, name="tuned", tuned_on="ten hours of tones", tasks=("asr",))


class Halved(WaveformTransform):
    """Every two samples averaged: half the audio, twice the stride."""

    def __init__(self):
        inner = Toy()
        super().__init__(inner, name="halved(toy)")
        self.card = replace(self.card, stride=2 * inner.card.stride)

    def heard(self, lengths):
        return (lengths + 1) // 2

    def transform(self, wavs, lengths):
        return F.avg_pool1d(F.pad(wavs, (0, wavs.shape[1] % 2))[:, None], 2)[:, 0]

    def transform_macs(self, samples):
        return samples


class AnswersAtTheEnd(SelfAnswering):
    """As a fine-tuned model without exits: one answer, at the last depth."""

    knob, knob_values, exits, evidence_reads_answer = None, (), (), False

    def __init__(self):
        super().__init__()
        self.card = replace(self.card, name="answersattheend", evidence="")


class AnswersBesides(SelfAnswering):
    """Answers one task and may be used for any."""

    def __init__(self):
        super().__init__()
        self.card = replace(self.card, name="answersbesides", tuned_on="", tasks=())
