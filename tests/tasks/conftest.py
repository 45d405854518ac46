"""What tests of several tasks share."""

import sys
import types

import pytest
from helpers import sounds
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
    """Four speakers of ten utterances, in a folder each."""
    return sounds.people(tmp_path / "people")


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """A LibriSpeech-shaped tree that mixtures are made of."""
    return speech(tmp_path_factory.mktemp("LibriSpeech"))
