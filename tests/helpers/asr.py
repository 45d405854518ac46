"""s3prl's recognition as its runner sets it up, and small texts and scores for ours."""

from dataclasses import replace

import numpy as np
import torch
from earlyexit_superb.benchmark.audio import write
from earlyexit_superb.benchmark.contract import Example
from earlyexit_superb.tasks import asr
from earlyexit_superb.tasks.shared import ctc_text
from torch import nn
from toys.toy import at

SMALL = {
    "superb-v1": replace(asr.SUPERB_V1, hidden=24),
    "minisuperb": replace(asr.MINISUPERB, hidden=12),
}


# s3prl/downstream/asr/char.dict, which its wheel lacks
CHAR_DICT = {
    "|": 1980202,
    "E": 1091870,
    "T": 789572,
    "A": 689048,
    "O": 647720,
    "N": 591778,
    "I": 585614,
    "H": 557204,
    "S": 545238,
    "R": 499568,
    "D": 380912,
    "L": 344952,
    "U": 242014,
    "M": 217730,
    "C": 210734,
    "W": 204598,
    "F": 195086,
    "G": 174098,
    "Y": 168548,
    "P": 146722,
    "B": 129608,
    "V": 81496,
    "K": 65070,
    "'": 19660,
    "X": 12530,
    "J": 12062,
    "Q": 8164,
    "Z": 4916,
}


TEXTS = ["HELLO WORLD", "A BOOK", "DON'T SPEAK NOW", "ZERO"]


FRAMES = [61, 40, 55, 23]


def edits(a, b):
    """Levenshtein's distance between two sequences, row by row; s3prl takes it from the
    package editdistance.
    """
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1]


def expert(s3prl, protocol, dim):
    """s3prl's downstream with the fields of s3prl/downstream/asr/config.yaml that the protocol
    names.
    """
    n = protocol.layers
    rnns = {
        "total_rate": -1,
        "module": "LSTM",
        "bidirection": True,
        "dim": [protocol.hidden] * n,
        "dropout": [protocol.dropout] * n,
        "layer_norm": [False] * n,
        "proj": [False] * n,
        "sample_rate": [1] * n,
        "sample_style": "concat",
    }
    return s3prl.expert.DownstreamExpert(
        dim,
        320,
        {
            "datarc": {
                "dict_path": s3prl.char_dict,
                "zero_infinity": True,
                "decoder_args": {"decoder_type": "None"},
            },
            "modelrc": {"project_dim": protocol.hidden, "select": "RNNs", "RNNs": rnns},
        },
        "unused",
    )


def twins(s3prl, protocol, dim=20):
    """(theirs, ours) with the same weights, large enough for the outputs to differ from frame to
    frame.
    """
    torch.manual_seed(0)
    theirs, ours = expert(s3prl, protocol, dim), asr.head(at(protocol, dim, 320))
    ours.network.load_state_dict(
        {
            renamed(name): 3 * value
            for name, value in theirs.state_dict().items()
            if name != "best_score"
        }
    )
    for parameter in theirs.parameters():
        parameter.data.mul_(3)
    return theirs.eval(), ours.eval()


def renamed(name):
    """rnns.1.layer.weight_ih_l0_reverse -> lstm.weight_ih_l1_reverse"""
    if not name.startswith("model.rnns."):
        return name.replace("projector.", "project.").replace("model.linear.", "to_symbols.")
    layer, weight = name.removeprefix("model.rnns.").split(".layer.")
    return f"lstm.{weight.replace('_l0', f'_l{layer}')}"


def batch(dim=20, seed=1):
    """Rows of features as s3prl takes them, the same padded, and examples with their texts."""
    torch.manual_seed(seed)
    rows = [torch.randn(n, dim) for n in FRAMES]
    return (
        rows,
        nn.utils.rnn.pad_sequence(rows, batch_first=True),
        [Example(f"u{i}", torch.zeros(320), t) for i, t in enumerate(TEXTS)],
    )


def records():
    """What s3prl's runner hands its expert to fill."""
    return {
        name: []
        for name in (
            "loss",
            "target_tokens",
            "target_words",
            "pred_tokens",
            "pred_words",
            "filenames",
        )
    }


def librispeech(root, texts, split="train-clean-100", seconds=2.0):
    """A tree of utterances with transcripts, each a little longer than the one before."""
    for i, text in enumerate(texts):
        folder = root / split / f"{i % 2 + 1}" / "7"
        write(
            folder / f"{i % 2 + 1}-7-{i:04d}.flac",
            np.full(int(seconds * 16_000) + 160 * i, 0.1 * (i % 5 + 1), np.float32),
        )
        with open(folder / f"{i % 2 + 1}-7.trans.txt", "a") as file:
            file.write(f"{i % 2 + 1}-7-{i:04d} {text}\n")
    return root


def spoken(text, frames=80):
    """Scores that say `text`: every symbol once, blanks between."""
    symbols = [i for symbol in ctc_text.target(text) for i in (symbol, ctc_text.BLANK)]
    return (
        10
        * nn.functional.one_hot(torch.tensor(symbols + [0] * (frames - len(symbols))), 32).float()
    )
