"""What tests of several tasks share."""

import sys
import types

import numpy as np
import pytest
from earlyexit_superb.benchmark import audio
from helpers.asr import CHAR_DICT, edits
from helpers.mixtures import speech
from oracles import s3prl_module


@pytest.fixture(scope="session")
def s3prl_asr(tmp_path_factory):
    """s3prl.downstream, with an editdistance of our own and its dictionary file."""
    sys.modules.setdefault("editdistance", types.SimpleNamespace(eval=edits))
    path = tmp_path_factory.mktemp("s3prl") / "char.dict"
    path.write_text("".join(f"{symbol} {count}\n" for symbol, count in CHAR_DICT.items()))
    return types.SimpleNamespace(
        expert=s3prl_module("downstream.asr.expert"),
        specaug=s3prl_module("downstream.specaug"),
        dataset=s3prl_module("downstream.asr.dataset"),
        model=s3prl_module("downstream.asr.model"),
        dictionary=s3prl_module("downstream.asr.dictionary").Dictionary.load(str(path)),
        char_dict=str(path),
    )


@pytest.fixture
def people(tmp_path, own_cache):
    """Four speakers of ten utterances, 0.3 to 1.1 s, in a folder each: a tone a speaker, in
    noise.
    """
    root, rng, lines = tmp_path / "people", np.random.default_rng(0), []
    for s in range(4):
        for k in range(10):
            n = int(rng.integers(5_000, 17_000))
            wav = 0.1 * np.sin(
                2 * np.pi * (200 + 150 * s) * np.arange(n) / 16_000
            ) + 0.01 * rng.standard_normal(n)
            audio.write(root / "wav" / f"speaker{s}" / f"{k}.wav", wav.astype(np.float32))
            lines.append(f"{1 if k < 6 else 2 if k < 8 else 3} speaker{s}/{k}.wav\n")
    (root / "iden_split.txt").write_text("".join(lines))
    return root


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """A LibriSpeech-shaped tree that mixtures are made of."""
    return speech(tmp_path_factory.mktemp("LibriSpeech"))
