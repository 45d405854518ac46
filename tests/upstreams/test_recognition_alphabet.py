"""The symbols of recognisers: there and back, word pieces, what they cannot write."""

import sys

import pytest
import torch
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from earlyexit_superb.tasks.shared import ctc_text
from earlyexit_superb.upstreams.recognition import bpe, word_pieces
from earlyexit_superb.upstreams.recognition.alphabet import CHARACTERS, LETTERS_31, Alphabet
from helpers import installed
from helpers.recognition import TEXTS
from hypothesis import given
from hypothesis import strategies as st

NAMED = pytest.mark.parametrize("alphabet", [CHARACTERS, LETTERS_31], ids=lambda a: a.name)
WORDS = st.lists(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ'", min_size=1, max_size=6), min_size=1)


@pytest.fixture(scope="module")
def pieces():
    installed("sentencepiece")
    return bpe.learn(TEXTS, 54)


def test_characters_are_those_of_the_task_and_zaiem_has_31():
    assert CHARACTERS.symbols == ctc_text.SYMBOLS and CHARACTERS.blank == ctc_text.BLANK
    assert CHARACTERS.boundary == ctc_text.BOUNDARY and len(CHARACTERS) == 32
    assert len(LETTERS_31) == 31 and LETTERS_31.letters == CHARACTERS.letters


@NAMED
@given(words=WORDS)
def test_what_is_written_is_read_again(alphabet, words):
    text = " ".join(words)
    ids = alphabet.encode(text)
    assert alphabet.decode(ids) == text and len(ids) == len(text)
    assert not any(alphabet.silent(i) for i in ids)
    assert alphabet.encode(f"  {'   '.join(words)} ") == ids
    assert alphabet.frames_needed(ids) == ctc_text.frames_needed(ids)


@given(st.integers(0, 9999))
def test_the_greedy_transcript_is_the_tasks_without_its_marks(seed):
    scores = 3 * torch.randn(60, 32, generator=torch.Generator().manual_seed(seed))
    theirs = [s for s in ctc_text.greedy(scores) if s not in ("<pad>", "<unk>")]
    assert CHARACTERS.decode(CHARACTERS.greedy(scores)) == ctc_text.spelled(theirs)


def test_repeats_are_one_and_blanks_part_them():
    ids = CHARACTERS.encode("ALL")
    frames = [0, 0, ids[0], ids[0], ids[1], 0, ids[1], 0]
    scores = torch.nn.functional.one_hot(torch.tensor(frames), 32).float()
    assert CHARACTERS.greedy(scores) == ids and CHARACTERS.frames_needed(ids) == 4
    silence = torch.nn.functional.one_hot(torch.zeros(4, dtype=torch.long), 32)
    assert CHARACTERS.decode(CHARACTERS.greedy(silence)) == ""


@NAMED
def test_what_it_lacks_is_named(alphabet):
    with pytest.raises(UsageError, match=f"alphabet {alphabet.name} lacks '3' 'É'; mend"):
        alphabet.encode("CAFÉ 33")
    for empty in ("", "  "):
        with pytest.raises(UsageError, match="an empty transcript is nothing to learn from"):
            alphabet.encode(empty)


def test_a_header_holds_all_of_it(pieces):
    for alphabet in (CHARACTERS, LETTERS_31, pieces):
        assert Alphabet.from_header(alphabet.header()) == alphabet
    whole = CHARACTERS.header()["alphabet"]
    damaged = ("", "[]", "{}", whole[:-1], whole.replace("4", "99"), whole.replace('"A"', '"T"'))
    for text in damaged:
        with pytest.raises(UsageError, match="alphabet"):
            Alphabet.from_header({"alphabet": text})
    with pytest.raises(UsageError, match="without an alphabet in its header"):
        Alphabet.from_header({})


# ---- word pieces ----


def test_pieces_are_sentencepieces_and_no_text_needs_the_blank(pieces, tmp_path):
    import sentencepiece

    theirs = sentencepiece.SentencePieceProcessor(model_proto=pieces.pieces)
    assert len(pieces) == theirs.get_piece_size() == 54
    for text in TEXTS[:3]:
        ids = pieces.encode(text)
        assert ids == theirs.encode(text) and len(ids) < len(text) and pieces.blank not in ids
        assert pieces.decode(ids) == text == theirs.decode(ids)
    file = tmp_path / "english.model"
    file.write_bytes(pieces.pieces)
    named = bpe.alphabet_of(str(file))
    assert named.symbols == pieces.symbols and named.name == "english"


def test_small_letters_are_written_and_capitals_read(tmp_path):
    installed("sentencepiece")
    small = bpe.learn([text.lower() for text in TEXTS], 40)
    assert small.decode(small.encode("THE CAT SAT")) == "THE CAT SAT"


def test_bytes_that_stand_for_letters_are_no_letters(tmp_path):
    """byte_fallback writes a letter that a model lacks as bytes, which decode to nothing."""
    spm = pytest.importorskip("sentencepiece")
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_prefix=str(tmp_path / "b"),
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        pad_id=3,
        normalization_rule_name="identity",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    made = bpe.alphabet_of(str(tmp_path / "b.model"))
    assert made.decode(made.encode(TEXTS[0])) == TEXTS[0]
    with pytest.raises(UsageError, match="lacks 'Ü'; mend the transcript"):
        made.encode(f"{TEXTS[0]} Ü")


def test_pieces_are_read_where_sentencepiece_is_not_installed(pieces, monkeypatch):
    ids = pieces.encode("A DOG")
    word_pieces.processor.cache_clear()
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    read = Alphabet.from_header(pieces.header())
    assert read.decode(ids) == "A DOG"
    with pytest.raises(MachineError, match=r"writing with word pieces needs .*\[bpe\]"):
        read.encode("A DOG")


def test_pieces_that_will_not_do_are_refused(pieces, tmp_path):
    with pytest.raises(UsageError, match="lacks 'Ü'; mend the transcript"):
        pieces.encode("THE BÜ")
    with pytest.raises(UsageError, match="do not hold 4000 pieces; ask for bpe:"):
        bpe.learn(TEXTS, 4000)
    broken = tmp_path / "broken.model"
    broken.write_bytes(b"\x0a\x05nothing")
    for spec, said in (
        ("charakters", r"did you mean characters\? \(or a sentencepiece model: FILE.model"),
        (str(tmp_path / "none.model"), "there is no file"),
        (str(broken), "no sentencepiece model or a damaged one"),
    ):
        with pytest.raises(UsageError, match=said):
            bpe.alphabet_of(spec)


def test_a_letter_that_no_training_transcript_has_can_be_written(pieces):
    assert not any("Z" in text for text in TEXTS)
    assert pieces.decode(pieces.encode("ZOO")) == "ZOO"
    with pytest.raises(UsageError, match="27 letters, .*ask for more, such as bpe:64"):
        bpe.learn(TEXTS, 31)
    assert len(bpe.learn(TEXTS, 33)) == 33
