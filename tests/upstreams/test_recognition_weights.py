"""A recogniser's weights: they stand alone, and files of other models are refused."""

import json
import sys

import pytest
import torch
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.registry import build_upstream, untrained
from earlyexit_superb.upstreams.recognition import bpe, weights
from earlyexit_superb.upstreams.recognition.heads import HeadShape
from helpers import ROOT, installed
from helpers.recognition import TEXTS, SmallSpeller, record
from safetensors.torch import load_file, save_file

LINEAR = dict.fromkeys((1, 3), HeadShape())


def saved(model, path, **more):
    weights.save(model, model.described, path, **{"tuned_on": "ten hours", **more})
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return saved(SmallSpeller(seed=4), tmp_path_factory.mktemp("weights") / "it.safetensors")


def header_of(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as opened:
        return dict(opened.metadata())


def same_answers(one, other, clips):
    heard = clips[0][None, :4000], torch.tensor([4000])
    pairs = zip(*(record(up.eval(), *heard) for up in (one, other)), strict=True)
    (evidence, theirs), (answers, expected) = pairs
    assert (evidence == theirs).all()
    assert all(torch.equal(answers[k][0], expected[k][0]) for k in answers)


def test_what_is_saved_is_what_is_loaded(file, clips):
    trained, found = SmallSpeller(seed=4), SmallSpeller(weights=str(file))
    ours, theirs = (dict(up.named_parameters()) for up in (trained, found))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k].half().float(), theirs[k]) for k in ours)
    assert {p.dtype for p in theirs.values()} == {torch.float32}
    assert {t.dtype for t in load_file(file).values()} == {torch.float16}
    same_answers(trained.half().float(), found, clips)
    assert found.card.tuned_on == "ten hours" and not untrained(found.card.revision)
    assert untrained(trained.card.revision) and trained.card.tuned_on == ""
    assert found.card.name == "smallspeller.tiny(weights=it.safetensors)"


def test_a_revision_is_of_what_the_weights_are(file, tmp_path):
    again = saved(SmallSpeller(weights=str(file)), tmp_path / "copy.safetensors", tuned_on="x")
    other = saved(SmallSpeller(seed=5), tmp_path / "other.safetensors")
    one, same, another = (SmallSpeller(weights=str(f)).card.revision for f in (file, again, other))
    assert one == same != another and len(one) == 12


def test_tied_heads_are_stored_once_and_tied_again(tmp_path, clips):
    model = SmallSpeller(seed=2, shapes=LINEAR, tied=True)
    path = saved(model, tmp_path / "tied.safetensors", dtype=torch.float32)
    assert {k for k in load_file(path) if "heads" in k} == {
        "heads.1.out.weight",
        "heads.1.out.bias",
    }
    found = SmallSpeller(weights=str(path), shapes=LINEAR, tied=True)
    assert found.heads["1"] is found.heads["3"]
    same_answers(model, found, clips)
    with pytest.raises(UsageError, match="differs .* in its tying of heads .True, not False"):
        SmallSpeller(weights=str(path), shapes=LINEAR)


def test_a_file_holds_its_word_pieces(tmp_path, monkeypatch, clips):
    installed("sentencepiece")
    pieces, model = bpe.learn(TEXTS, 54), tmp_path / "pieces.model"
    model.write_bytes(pieces.pieces)
    trained = SmallSpeller(alphabet=str(model))
    assert len(trained.alphabet) == 54
    path = saved(trained, tmp_path / "bpe.safetensors")
    larger = tmp_path / "larger.model"
    larger.write_bytes(bpe.learn(TEXTS, 58).pieces)
    with pytest.raises(UsageError, match="alphabet pieces of 54 symbols, not with larger of 58"):
        SmallSpeller(weights=str(path), alphabet=str(larger))
    with pytest.raises(UsageError, match="alphabet pieces of 54 symbols, not with characters of 3"):
        SmallSpeller(weights=str(path), alphabet="characters")
    model.unlink()
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    found = SmallSpeller(weights=str(path))
    assert found.alphabet.decode(pieces_of(found, "A DOG")) == "A DOG"
    same_answers(trained.half().float(), found, clips)


def pieces_of(model, text):
    return [model.alphabet.symbols.index(f"\u2581{word}") for word in text.split()]


def test_a_frozen_trunk_is_not_stored_again(tmp_path, clips):
    model = build_upstream("zaiem", {"weights": "pretrained", "seed": "1"})
    assert model.card.revision == f"{build_upstream('hubert').card.revision}+random-1"
    path = saved(model, tmp_path / "zaiem.tiny.safetensors", without="hubert.tiny")
    assert path.stat().st_size < 2**20  # and the trunk has 13 MB
    found = build_upstream("zaiem", {"weights": str(path)})
    same_answers(model.half().float(), found, clips)
    assert found.trunk.unit_count == 0  # the head of its pre-training is left out


# ---- files of something else ----


def rewritten(file, path, **changes):
    """The same tensors under another header; None leaves an entry out."""
    header = {k: v for k, v in (header_of(file) | changes).items() if v is not None}
    save_file(load_file(file), path, header)
    return str(path)


def test_another_model_is_refused(file, tmp_path):
    for options, said in (
        ({"shapes": LINEAR}, "in its heads .1: .*attention.*, not .*linear"),
        ({"shapes": {2: HeadShape(), 3: HeadShape()}}, "at 1, 3, not 2, 3"),
        ({"tag": "wide"}, "has dim 32 where dim 48 was asked for; choose the tag that fits"),
        ({"alphabet": "letters"}, "alphabet characters of 32 symbols, not with letters of 31"),
    ):
        with pytest.raises(UsageError, match=said):
            SmallSpeller(weights=str(file), **options)
    with pytest.raises(UsageError, match="is of smallspeller, not of zaiem; name that one"):
        build_upstream("zaiem", {"weights": rewritten_trunk(file, tmp_path)})
    shipped = str(ROOT / "upstreams" / "conformer_ctc.tiny.safetensors")
    with pytest.raises(UsageError, match="is of conformer_ctc, not of hubert_ee; name that one"):
        build_upstream("hubert_ee", {"weights": shipped})


def test_weights_to_begin_with_keep_their_whole_name():
    for name in ("pretrained/base.pt", "pretrained.pt"):
        with pytest.raises(UsageError, match=name):
            build_upstream("hubert_ee", {"weights": name})


def rewritten_trunk(file, tmp_path):
    """A file of another system whose trunk has the right sizes."""
    model = build_upstream("zaiem")
    tensors = {k: v.half().contiguous() for k, v in model.state_dict().items()}
    header = model.described.header() | {"system": "smallspeller"}
    save_file(tensors, tmp_path / "other.safetensors", header)
    return str(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"alphabet": "{}"}, "it.safetensors: a weights file without an alphabet"),
        ({"trunk": "{"}, "states no trunk, or a damaged one; copy it again"),
        ({"trunk": json.dumps({"width": 3})}, "states no trunk, or a damaged one"),
        ({"heads": None}, "does not say its heads, or is damaged"),
        ({"tied": "maybe"}, "does not say its tied, or is damaged"),
        ({"system": None}, "is of no known system, not of smallspeller"),
    ],
)
def test_a_damaged_header_is_a_sentence(file, tmp_path, changes, said):
    with pytest.raises(UsageError, match=said):
        SmallSpeller(weights=rewritten(file, tmp_path / "it.safetensors", **changes))


def test_damaged_tensors_are_a_sentence(file, tmp_path):
    tensors, header = load_file(file), header_of(file)
    for name, change, said in (
        ("heads.3.out.bias", None, "lacks heads.3.out.bias"),
        ("heads.3.out.bias", torch.zeros(3).half(), "another size of heads.3.out.bias"),
        ("heads.3.out.bias", torch.full((32,), torch.nan).half(), "nan or infinity"),
        ("surplus", torch.zeros(3).half(), "unknown surplus"),
    ):
        changed = {k: v for k, v in (tensors | {name: change}).items() if v is not None}
        save_file(changed, tmp_path / "bad.safetensors", header)
        with pytest.raises(UsageError, match=said):
            SmallSpeller(weights=str(tmp_path / "bad.safetensors"))
    with pytest.raises(UsageError, match="there is no file"):
        build_upstream("hubert_ee", {"weights": str(tmp_path / "none.safetensors")})


def test_weights_of_fewer_blocks_name_the_option_that_made_them(tmp_path):
    few = build_upstream("wav2vec2_ctc", {"weights": "random", "single": "4"})
    path = saved(few, tmp_path / "four.safetensors")
    with pytest.raises(UsageError, match="has 4 blocks, and 12 are asked for; .*--set single=4,"):
        build_upstream("wav2vec2_ctc", {"weights": str(path)})
    whole = saved(build_upstream("zaiem", {"weights": "random"}), tmp_path / "all.safetensors")
    with pytest.raises(UsageError, match="has 12 blocks, and 4 are asked for; .* or none"):
        build_upstream("zaiem", {"weights": str(whole), "single": "4"})
