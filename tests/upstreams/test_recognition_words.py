"""Decoding with a word n-gram: the library's own words, exits that stay, files that will not do."""

import gzip
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from earlyexit_superb.benchmark.conformance import check_upstream
from earlyexit_superb.benchmark.contract import Item
from earlyexit_superb.benchmark.engine import cost
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from earlyexit_superb.benchmark.exiting import Exit, leaving, replay, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.recognition import bpe, word_search
from earlyexit_superb.upstreams.recognition.alphabet import CHARACTERS, LETTERS_31, Alphabet
from earlyexit_superb.upstreams.recognition.word_model import WordModel, spellings
from earlyexit_superb.upstreams.recognition.word_search import NEVER, ended, log_probability, words
from helpers import arpa, installed
from helpers.recognition import record, speller
from torch import nn

WORDS = dict.fromkeys(" ".join(arpa.SENTENCES).split())


@pytest.fixture(scope="module")
def flashlight():
    pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason="[lm] is not installed")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return arpa.write(tmp_path_factory.mktemp("lm") / "some.arpa")


def heard(text, alphabet=CHARACTERS, seed=0, noise=1.5, end=False):
    """(T, V) log-probabilities that spell a text, unsurely; a blank frame around every symbol."""
    ids = alphabet.encode(text) + ([alphabet.boundary] if end else [])
    scores = torch.zeros(2 * len(ids) + 1, len(alphabet))
    scores[::2, alphabet.blank] = 6
    scores[torch.arange(1, 2 * len(ids), 2), torch.tensor(ids)] = 6
    draw = torch.Generator().manual_seed(seed)
    return (scores + noise * torch.randn(scores.shape, generator=draw)).log_softmax(-1)


def theirs(folder, model, lm=True):
    """torchaudio's decoder, by hand."""
    from torchaudio.models.decoder import ctc_decoder

    lexicon = folder / "lexicon.lst"
    lexicon.write_text("".join(f"{word} {' '.join(word)} |\n" for word in WORDS))
    return ctc_decoder(
        str(lexicon),
        list(CHARACTERS.symbols),
        model.file if lm else None,
        beam_size=model.beam,
        lm_weight=model.weight,
        word_score=model.word_score,
        blank_token="<s>",
        sil_token="|",
    )


# ---- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight, score, beam", [(2.0, -1.0, 50), (0.5, 1.0, 10), (4.0, 0.0, 200)])
def test_the_words_are_those_of_torchaudios_decoder(
    flashlight, file, tmp_path, weight, score, beam
):
    model = WordModel(file, "", weight, score, beam)
    library = theirs(tmp_path, model)
    greedy = set()
    for seed, text in enumerate(arpa.SENTENCES * 2):
        closed = heard(text, seed=seed, end=True)
        closed[-1] = CHARACTERS.boundary == torch.arange(32)
        closed[-1] = torch.where(closed[-1] > 0, 0.0, NEVER)
        [[best]] = library(closed[None].contiguous())
        assert words(closed, CHARACTERS, model) == " ".join(best.words)
        open_ = heard(text, seed=seed)
        [[best]] = library(ended(open_, CHARACTERS)[None].contiguous())
        assert words(open_, CHARACTERS, model) == " ".join(best.words)
        greedy.add(CHARACTERS.decode(CHARACTERS.greedy(open_)) == " ".join(best.words))
    assert greedy == {True, False}  # or this would prove little


def test_without_weight_it_is_the_decoder_without_a_model(flashlight, file, tmp_path):
    model = WordModel(file, "", 0.0, -0.5, 1000)
    library = theirs(tmp_path, model, lm=False)
    for seed, text in enumerate(arpa.SENTENCES):
        scores = heard(text, seed=seed)
        [[best]] = library(ended(scores, CHARACTERS)[None].contiguous())
        assert words(scores, CHARACTERS, model) == " ".join(best.words)


@pytest.mark.parametrize("alphabet", [CHARACTERS, LETTERS_31])
def test_a_surely_spelled_text_is_found_as_it_is_to_its_last_word(flashlight, file, alphabet):
    for text in arpa.SENTENCES:
        found = words(heard(text, alphabet, noise=0.5), alphabet, WordModel(file))
        assert found == text == alphabet.decode(alphabet.greedy(heard(text, alphabet, noise=0.5)))


def test_the_model_decides_between_words_that_sound_alike(flashlight, file):
    scores = heard("SEE THE SEE", noise=0.0)
    last, letters = scores[-2], CHARACTERS.encode("AE")
    last[letters[0]] = last[letters[1]] - 0.1
    assert CHARACTERS.decode(CHARACTERS.greedy(scores)) == "SEE THE SEE"
    assert words(scores, CHARACTERS, WordModel(file)) == "SEE THE SEA"


def test_word_pieces(flashlight, file, tmp_path):
    installed("sentencepiece")
    pieces = bpe.learn(arpa.SENTENCES * 5, 36)
    assert spellings(WordModel(file), pieces)["CAT"] == pieces.encode("CAT")
    small = bpe.learn([text.lower() for text in arpa.SENTENCES * 5], 30)
    lower = arpa.write(tmp_path / "lower.arpa", [text.lower() for text in arpa.SENTENCES])
    for alphabet, name in ((pieces, file), (small, file), (small, lower)):
        for text in arpa.SENTENCES:
            scores = heard(text, alphabet, noise=0.5)
            assert words(scores, alphabet, WordModel(name, word_score=0.0)) == text


@pytest.mark.parametrize("option", ["lm_weight", "word_score"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_weight_is_a_finite_number(option, value, file):
    with pytest.raises(UsageError, match=f"{option} is a finite number like .*, not '{value}'"):
        build_upstream("conformer_ctc", {"lm": str(file), option: value})


def test_where_nothing_ends_with_a_word_it_is_greedy(flashlight, file):
    scores = torch.full((3, 32), NEVER)
    scores[torch.arange(3), torch.tensor(CHARACTERS.encode("CAS"))] = 0
    assert words(scores, CHARACTERS, WordModel(file)) is None
    up = with_words(speller(), file)
    assert up.decode(scores, "asr") == "CAS"
    silence = torch.full((3, 32), -9.0)
    silence[:, CHARACTERS.blank] = 0
    assert words(silence, CHARACTERS, WordModel(file)) == ""


def test_a_sentence_counts_for_its_words_and_its_end(flashlight, file):
    model = WordModel(file, "", 2.0, -1.0)
    table = dict(
        reversed(line.split("\t")[:2]) for line in arpa.bigrams().splitlines() if "\t" in line
    )
    chain = sum(float(table[pair]) for pair in ("<s> SEE", "SEE THE", "THE SEA", "SEA </s>"))
    assert log_probability("SEE THE SEA", CHARACTERS, model) == pytest.approx(
        2 * chain - 3, abs=1e-4
    )
    assert log_probability("", CHARACTERS, model) < 0
    # an unknown word behind nothing known: back off, and its unigram
    expected = float(table["<unk>"]) + float(table["</s>"])
    found = log_probability("ZEBRA", CHARACTERS, replace(model, word_score=0.0))
    assert found == pytest.approx(2 * (expected + torch.tensor(0.2).log10().item()), abs=1e-4)


# ---- in a system ---------------------------------------------------------------------------------


def with_words(up, file):
    up.word_model = WordModel(file)
    return up


def test_exits_stay_and_a_live_run_spells_as_replayed(flashlight, file, clips):
    some = [clip[: 3000 + 900 * i] for i, clip in enumerate(clips)]
    lengths = torch.tensor([len(clip) for clip in some])
    wavs = nn.utils.rnn.pad_sequence(some, batch_first=True)
    plain, up = speller(), with_words(speller(), file)
    evidence, answers = record(up, wavs, lengths)
    assert (evidence == record(plain, wavs, lengths)[0]).all()
    exit = Exit(leaving(up), float(sorted(evidence[:, 0])[1]))
    left = replay(evidence, exit, up.exits).tolist()
    live = run_until_exit(up, wavs, lengths, exit)
    assert live.depth.tolist() == left and len(set(left)) > 1
    told = [up.decode(answer, "asr") for answer in live.answers]
    assert told == [up.decode(answers[k][row], "asr") for row, k in enumerate(left)]
    assert {word for text in told for word in text.split()} <= set(WORDS)
    assert told != [plain.decode(answer, "asr") for answer in live.answers]


def test_a_search_is_charged_once_where_it_leaves_and_timed(flashlight, file, monkeypatch):
    items, exit = [Item("u", None, 16_000)], Exit((1, 3, 6), 0.5)
    plain, up = speller(), with_words(speller(), file)
    searched = int(up.frames(torch.tensor([16_000]))) * len(up.alphabet) * up.word_model.beam
    assert (plain.decode_macs(16_000, 3), up.decode_macs(16_000, 3)) == (0, searched)
    costs = [cost.macs(one, items, torch.tensor([3]).numpy(), exit, True) for one in (plain, up)]
    assert costs[1] - costs[0] == searched
    told = []
    monkeypatch.setattr(up, "decode", lambda answer, task: told.append(task))
    cost._live(up, exit, "asr", torch.zeros(1, 3200))
    cost._live(up, exit, "", torch.zeros(1, 3200))
    assert told == ["asr"]


@pytest.mark.parametrize("name", ["hubert_ee", "wav2vec2_ctc", "zaiem", "conformer_ctc"])
def test_a_system_takes_a_model_by_its_options(flashlight, file, name):
    given = {"weights": "random", "single": "2", "lm": file}
    up = build_upstream(name, {**given, "lm_weight": "0.7", "beam": "7"})
    assert up.card.name.endswith("lm=some.arpa, lm_weight=0.7, beam=7)")
    assert up.card.revision.startswith("random-0+lm-")
    assert (up.word_model.weight, up.word_model.beam) == (0.7, 7)
    text = "THE CAT SAT"
    assert up.decode(heard(text, up.alphabet, noise=0.5), "asr") == text


def test_another_file_is_another_revision(flashlight, tmp_path):
    names = [arpa.write(tmp_path / "a.arpa"), arpa.write(tmp_path / "b.arpa", arpa.SENTENCES[:4])]
    assert len({WordModel(name).revision for name in names}) == 2
    (tmp_path / "copy.arpa").write_bytes((tmp_path / "a.arpa").read_bytes())
    assert WordModel(str(tmp_path / "copy.arpa")).revision == WordModel(names[0]).revision
    lexicon = tmp_path / "words"
    lexicon.write_text("CAT C A T |\n")
    assert WordModel(names[0], str(lexicon)).revision != WordModel(names[0]).revision


@pytest.mark.parametrize("name", ["conformer_ctc", "conformer_aed"])
def test_a_small_system_with_a_model_meets_the_contract(flashlight, file, name):
    given = {"weights": "random", "single": "2", "lm": file, "beam": "3"}
    up = build_upstream(name, given)
    assert [f.sentence for f in check_upstream(up) if not f.ok] == []


# ---- files ---------------------------------------------------------------------------------------


def test_gzipped_and_with_a_lexicon(flashlight, file, tmp_path):
    packed, lexicon = tmp_path / "some.arpa.gz", tmp_path / "words"
    packed.write_bytes(gzip.compress(Path(file).read_bytes()))
    assert spellings(WordModel(str(packed)), CHARACTERS) == spellings(WordModel(file), CHARACTERS)
    lexicon.write_text("CAT C A T |\n\nTHE\n")
    few = WordModel(file, str(lexicon))
    assert [*spellings(few, CHARACTERS)] == ["CAT", "THE"]
    assert words(heard("THE CAT", noise=0.5), CHARACTERS, few) == "THE CAT"
    for model in (WordModel(str(packed)), few):
        assert word_search.ready(model, CHARACTERS)


def test_an_empty_line_and_remarks_may_come_first(file, tmp_path):
    """SRILM begins with one; KenLM passes over both."""
    text = Path(file).read_text()
    for begins in ("\n", "# made by hand\n\n", "\r\n"):
        other = tmp_path / "other.arpa"
        other.write_text(begins + text, newline="")
        assert spellings(WordModel(str(other)), CHARACTERS) == spellings(
            WordModel(file), CHARACTERS
        )
    (tmp_path / "nothing.arpa").write_text("\n\n")
    refused("is no ARPA file", lm=str(tmp_path / "nothing.arpa"))


def refused(sentence, **given):
    with pytest.raises(UsageError, match=sentence):
        build_upstream("conformer_ctc", {"weights": "random", **given})


def test_a_model_of_another_alphabet_or_case_is_refused(tmp_path):
    lower = arpa.write(tmp_path / "lower.arpa", ["the cat's on the mat", "a dog"])
    refused("lower.arpa: 0 of its 6 words can be written with the alphabet characters", lm=lower)
    other = arpa.write(tmp_path / "other.arpa", ["\u043a\u043e\u0442 \u0438 OK"])
    refused("1 of its 3 words .*of another alphabet or case.*lmplz", lm=other)
    mixed = arpa.write(tmp_path / "mixed.arpa", ["CHAPTER 12 A", "A DOG"])  # some is usual
    assert "12" not in spellings(WordModel(mixed), CHARACTERS)
    single = Alphabet(("<blank>", "A", "B"), 0, None, "ab")
    with pytest.raises(UsageError, match="the alphabet ab"):
        spellings(WordModel(mixed), single)


def test_files_that_will_not_do_are_refused(tmp_path, file, flashlight):
    refused("lm=none.arpa: there is no such file", lm="none.arpa")
    refused("lexicon=none: there is no such file", lm=file, lexicon="none")
    (tmp_path / "binary").write_bytes(b"mmap lm http://kheafield.com/code format version 5\n\0")
    refused("no ARPA file.*--set lexicon=FILE", lm=str(tmp_path / "binary"))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(Path(file).read_bytes())[:60])
    refused("cannot be read .*copy it again", lm=str(tmp_path / "cut.gz"))
    (tmp_path / "empty.arpa").write_text("\\data\\\nngram 1=0\n\n\\1-grams:\n\n\\end\\\n")
    refused("no words are in it", lm=str(tmp_path / "empty.arpa"))
    (tmp_path / "bad.arpa").write_text(Path(file).read_text().replace("\\2-grams:", "\\3-grams:"))
    (tmp_path / "strange").write_bytes(b"\xff\xfe\x00 no model")
    (tmp_path / "words").write_text("CAT\nTHE\n")
    for lm in ({"lm": "bad.arpa"}, {"lm": "strange", "lexicon": "words"}):
        given = {key: str(tmp_path / name) for key, name in lm.items()}
        with pytest.raises(MachineError, match="cannot be loaded by KenLM"):
            build_upstream("conformer_ctc", {"weights": "random", **given})


def test_options_without_a_model_are_refused(file):
    refused(
        "conformer_ctc: lm_weight, beam is of decoding with a language", lm_weight="1", beam="3"
    )
    refused("beam is a number of hypotheses from 1", lm=file, beam="0")


def test_the_extra_is_named(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "flashlight.lib.text.decoder", None)
    with pytest.raises(MachineError, match=r'run: pip install -c constraints.txt -e ".\[lm\]"'):
        build_upstream("conformer_ctc", {"weights": "random", "lm": file, "beam": "9"})
