"""Beam search with a language model."""

import sys
from dataclasses import replace

import pytest
import torch
from earlyexit_superb.benchmark.contract import Example
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.tasks import asr
from earlyexit_superb.tasks.shared import ctc_decoder, ctc_text
from helpers.asr import spoken
from toys.toy import at

TASK = tasks.get("asr")


def test_a_language_model_needs_its_files_and_its_extra(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="give both"):
        replace(asr.SUPERB_V1, lm="4-gram.arpa")
    files = {"lm": str(tmp_path / "lm.arpa"), "lexicon": str(tmp_path / "lexicon.lst")}
    with pytest.raises(UsageError, match="lm.arpa: there is no such file"):
        TASK.corpus(None, replace(asr.SUPERB_V1, **files))
    (tmp_path / "lm.arpa").write_text("")
    (tmp_path / "lexicon.lst").write_text("hello h e l l o |\n")
    with pytest.raises(UsageError, match="lexicon.lst line 1 is 'hello h e l l o |'"):
        TASK.corpus(None, replace(asr.SUPERB_V1, **files))
    (tmp_path / "lexicon.lst").write_text("HELLO H E L L O |\n")
    monkeypatch.setitem(sys.modules, "flashlight", None)
    monkeypatch.setitem(sys.modules, "flashlight.lib.text.decoder", None)
    with pytest.raises(MachineError, match=r'run: pip install -c constraints.txt -e ".\[lm\]"'):
        TASK.corpus(None, replace(asr.SUPERB_V1, **files))


ARPA = """\\data\\
ngram 1=6
ngram 2=1

\\1-grams:
-1.0\t<unk>
-99\t<s>
-0.5\t</s>
-3.0\tSEE
-0.3\tSEA
-0.5\tTHE\t0

\\2-grams:
-0.2\tTHE SEA

\\end\\
"""


def test_the_language_model_decides_between_words_that_sound_alike(tmp_path):
    pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason="[lm] is not installed")
    (tmp_path / "lm.arpa").write_text(ARPA)
    (tmp_path / "lexicon.lst").write_text("SEE S E E |\nSEA S E A |\nTHE T H E |\n")
    protocol = replace(
        asr.SUPERB_V1, lm=str(tmp_path / "lm.arpa"), lexicon=str(tmp_path / "lexicon.lst")
    )
    scores = spoken("THE SEE")
    # the frame of the second E
    last = 2 * ctc_text.target("THE SEE").index(ctc_text.BOUNDARY) + 6
    scores[last, ctc_text.SYMBOLS.index("A")] = 9.0
    example = Example("u", torch.zeros(1), "THE SEA")
    heard, guessed = (asr.score(scores, example, 80, at(p)) for p in (asr.SUPERB_V1, protocol))
    assert heard["hypothesis"] == "THE SEE" and guessed["hypothesis"] == "THE SEA"
    assert guessed["wer"].part == 0 and guessed["uer"] == heard["uer"] and heard["uer"].part > 0
    assert (
        asr.score(scores, example, 80, at(replace(protocol, lm_weight=0.0)))["hypothesis"]
        == "THE SEE"
    )
    (tmp_path / "bad.arpa").write_text("nothing of the kind")
    with pytest.raises(MachineError, match="cannot be loaded by KenLM"):
        ctc_decoder.decoder(replace(protocol, lm=str(tmp_path / "bad.arpa")))
