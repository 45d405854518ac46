"""The early-exit Conformers as upstreams: their sizes, what they answer, what it costs, their
files."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.exiting import Exit, run_until_exit
from earlyexit_superb.benchmark.registry import build_upstream
from earlyexit_superb.upstreams.backbones.measuring import products
from earlyexit_superb.upstreams.conformer_aed import ConformerAED
from earlyexit_superb.upstreams.conformer_ctc import ConformerCTC, beside
from earlyexit_superb.upstreams.recognition import weights
from earlyexit_superb.upstreams.recognition.criteria import transcript_change
from earlyexit_superb.upstreams.recognition.from_scratch import numbered
from helpers import arpa
from torch import nn

LENGTHS = torch.tensor([16_000, 9000])
WAVS = 0.1 * torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
WAVS[1, 9000:] = 0


@pytest.fixture(scope="module")
def aed():
    """It writes ends now and then, which a new decoder hardly does."""
    model = ConformerAED(weights="random").eval()
    with torch.no_grad():
        for head in model.heads.values():
            head.decoder.output.weight.mul_(8)
    return model


def size(name, **options):
    made = build_upstream(name, {"weights": "random", **options})
    return sum(p.numel() for p in made.parameters())


def test_parameters_of_the_papers():
    """31.5 M and 36.7 M are printed in Lasbordes et al., 2025; 31.0 M and 13.3 M in Wright et al.,
    whose second one is of a single decoder of another library."""
    base, split = size("conformer_ctc.base"), size("conformer_ctc.base", split="yes")
    assert (base, split) == (31_536_128, 36_683_264)
    one = size("conformer_aed.base", head="tied")
    assert one == 13_059_152
    assert abs(base / 31.0e6 - 1) < 0.02 and abs(one / 13.3e6 - 1) < 0.02


def test_the_tiny_ones_are_small_enough_to_ship():
    assert max(2 * size(f"{name}.tiny") for name in ("conformer_ctc", "conformer_aed")) < 4e6


def test_exits_and_singles():
    assert ConformerCTC(weights="random").exits == (2, 4, 6, 8, 10)
    alone = ConformerCTC(weights="random", single=4)
    assert alone.exits == () and alone.knob is None and alone.card.depth == 4
    assert list(ConformerAED(weights="random", single=3).heads) == ["3"]
    assert (beside(12), beside(2)) == (((0, 2), (10, 12)), ((0, 2),))


@pytest.mark.parametrize("criterion", ["entropy", "similarity", "posterior:2"])
def test_a_decoder_writes_only_where_an_utterance_leaves(aed, criterion, monkeypatch):
    model = ConformerAED(weights="random", criterion=criterion).eval()
    calls, alone = Counter(), type(model.heads["2"]).transcripts
    for depth, head in model.heads.items():

        def counted(states, frames, depth=depth, head=head):
            calls[depth] += len(states)
            return alone(head, states, frames)

        monkeypatch.setattr(head, "transcripts", counted)
    run_until_exit(model, WAVS, LENGTHS, Exit((2, 4, 12), -1.0))
    assert calls == {"12": 2}
    run_until_exit(model, WAVS, LENGTHS, Exit((2, 12), 1e6))
    assert calls == {"12": 2, "2": 2}


@torch.no_grad()
def test_what_a_decoder_writes_is_spelled_and_judged_by_frames_of_ctc(aed):
    *_, state = aed.states(WAVS, LENGTHS)
    frames = aed.frames(LENGTHS)
    answer = aed.answer(12, state, frames)
    together = aed.heads["12"].transcripts(state, frames)
    assert [row.tolist() for row in answer] == [row.tolist() for row in together]
    assert all(0 <= len(row) <= n for row, n in zip(answer, frames.tolist(), strict=True))
    assert aed.decode(torch.tensor([5, 6, 4, 4, 11]), "asr") == "ET H"
    scores = aed.rows_of_scores(12, state, frames)
    assert [tuple(row.shape) for row in scores] == [(24, 32), (13, 32)]
    assert torch.equal(aed.evidence(12, state, state, frames), aed.criterion.of_scores(scores))


@torch.no_grad()
def test_posterior_and_patience_are_of_what_the_decoders_write(aed):
    """Eq. 6 is of the hypotheses of each decoder; a transcript changes where another is written."""
    made = {c: ConformerAED(weights="random", criterion=c) for c in ("posterior:3", "patience")}
    for model in made.values():
        model.eval().load_state_dict(aed.state_dict())
    frames, states = aed.frames(LENGTHS), list(aed.states(WAVS, LENGTHS))
    written = {k: aed.answer(k, states[k], frames) for k in (2, 4)}
    found = made["posterior:3"].evidence(4, states[4], states[2], frames)
    for row, n, doubt in zip(states[4], frames.tolist(), found.tolist(), strict=True):
        hypotheses = aed.heads["4"].decoder.hypotheses(row[None, :n], 3)
        scores = torch.tensor([score for _, score in hypotheses], dtype=torch.float64)
        assert doubt == pytest.approx(1 - float(scores.softmax(0)[0]), abs=1e-6)
    model = made["patience"]
    pairs = zip(written[4], written[2], strict=True)
    changes = [transcript_change(a.tolist(), b.tolist()) for a, b in pairs]
    assert max(changes) > 0
    given = model.evidence(4, states[4], states[2], frames, answer=written[4])
    assert given.tolist() == pytest.approx(changes)
    first = model.evidence(2, states[2], states[0], frames, answer=written[2])
    assert first.tolist() == [1.0, 1.0]


@torch.no_grad()
def test_their_searches_and_transcripts_are_charged():
    made = [ConformerAED(weights="random", criterion=c) for c in ("posterior:3", "patience")]
    searched, compared = made
    head, frames = searched.heads["4"], int(searched.frames(torch.tensor([16_000]))[0])
    assert searched.evidence_macs(16_000, 4) == head.decoding_macs(frames, 14, 3)
    assert not searched.evidence_reads_answer
    assert compared.evidence_reads_answer
    assert compared.evidence_macs(16_000, 4) == compared.answer_macs(16_000, 2)
    assert compared.evidence_macs(16_000, 2) == 0


@torch.no_grad()
def test_the_loss_of_a_decoder_is_the_chain_of_its_symbols(aed):
    head, targets = aed.heads["2"], [[5, 6, 7, 8], [9]]
    states, frames = torch.randn(2, 20, 72), torch.tensor([20, 6])
    together = head.cross_entropy(states, frames, targets)
    for row, n, target, found in zip(states, frames, targets, together, strict=True):
        chain = 0.0
        for place, symbol in enumerate([*target, 0]):
            scores = head.decoder(torch.tensor([[0, *target[:place]]]), row[None, :n])
            chain -= scores[0, -1].log_softmax(-1)[symbol]
        torch.testing.assert_close(found, chain, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_hypotheses_are_rescored_by_words(aed, tmp_path):
    """What is answered is the best, by the decoder and the n-gram, of the decoder's beam."""
    pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason="[lm] is not installed")
    *_, state = aed.states(WAVS, LENGTHS)
    frames, search = aed.frames(LENGTHS), aed.heads["12"].decoder.hypotheses
    found = [search(row[None, :n], 10) for row, n in zip(state, frames.tolist(), strict=True)]
    known = [aed.alphabet.decode(hypotheses[2][0].tolist()) for hypotheses in found]
    lm = arpa.write(tmp_path / "some.arpa", [*arpa.SENTENCES, *known])
    model = build_upstream("conformer_aed", {"weights": "random", "lm": lm, "lm_weight": "3"})
    model.load_state_dict(aed.state_dict())
    assert model.card.name == "conformer_aed.tiny(weights=random, lm=some.arpa, lm_weight=3.0)"
    answers = model.answer(12, state, frames)
    for hypotheses, answer in zip(found, answers, strict=True):
        sums = [score + model.spoken(ids) for ids, score in hypotheses]
        assert answer.tolist() == hypotheses[sums.index(max(sums))][0].tolist()
    assert [model.decode(answer, "asr") for answer in answers] == known
    model.word_model = replace(model.word_model, weight=0.0)
    for hypotheses, answer in zip(found, model.answer(12, state, frames), strict=True):
        assert answer.tolist() == hypotheses[0][0].tolist()
    charged = [m.answer_macs(16_000, 12) for m in (aed, model)]
    assert charged[0] < charged[1] < 10 * charged[0] and model.decode_macs(16_000, 12) == 0


def test_every_parameter_learns():
    model = ConformerAED(weights="random").train()
    frames, loss = model.frames(LENGTHS), 0
    for depth, state in enumerate(model.states(WAVS, LENGTHS)):
        if depth in (*model.exits, 12):
            head = model.heads[str(depth)]
            loss = loss + head.cross_entropy(state, frames, [[5, 6, 7], [8]]).sum()
            loss = loss + model.scores(depth, state, frames)[:, 0].mean()
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())


@torch.no_grad()
def test_an_answer_costs_what_torch_counts_for_so_many_symbols():
    model = ConformerAED(weights="random", symbols_per_second=7.0).eval()
    head = model.heads["12"]
    head.decoder.output.bias[0] = -1e6  # it never ends by itself
    states = torch.randn(1, int(model.frames(torch.tensor([16_000]))), 72)
    counted = products(lambda: head.decoder.greedy(states, limits=(8,)))
    assert model.answer_macs(16_000, 12) == counted
    assert model.evidence_macs(16_000, 2) == products(lambda: head(states, None))
    assert (
        ConformerAED(weights="random", criterion="similarity").evidence_macs(16_000, 2)
        == 3 * 24 * 72
    )
    assert "7 symbols a second" in model.card.source


@pytest.mark.parametrize(("cls", "head"), [(ConformerCTC, "separate"), (ConformerAED, "tied")])
def test_weights_go_to_a_file_and_come_back(tmp_path, cls, head):
    model = cls(weights="random", head=head, seed=3).half().float().eval()  # as a file holds it
    path = tmp_path / "w.safetensors"
    weights.save(model, model.described, path, "some speech")
    again = build_upstream(cls.called, {"weights": str(path), "head": head})
    assert again.card.tuned_on == "some speech" and again.card.revision != model.card.revision
    with torch.no_grad():
        for ours, theirs in zip(
            model.states(WAVS, LENGTHS), again.states(WAVS, LENGTHS), strict=True
        ):
            assert torch.equal(ours, theirs)
    assert torch.equal(model.scores(12, ours, None), again.scores(12, ours, None))
    with pytest.raises(UsageError, match="heads"):
        build_upstream(cls.called, {"weights": str(path), "single": "4", "head": head})
    with pytest.raises(UsageError, match="in its trunk"):
        build_upstream(cls.called, {"weights": str(path), "features": "power_mel", "head": head})


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("conformer_ctc.tinny", {}, "has no tag 'tinny': did you mean tiny"),
        ("conformer_ctc.base", {}, "train conformer_ctc.base --task asr --data"),
        ("conformer_ctc", {"head": "tide"}, "head is separate or tied"),
        ("conformer_ctc", {"single": "13"}, "single is 1 to 12"),
        ("conformer_ctc", {"single": "1", "split": "yes"}, "two blocks"),
        ("conformer_ctc", {"features": "mfcc"}, "log_mel"),
        ("conformer_ctc", {"weights": "none.safetensors"}, "there is no file"),
        ("conformer_aed", {"symbols_per_second": "-1"}, "above 0"),
        ("conformer_aed", {"symbols_per_second": "inf"}, "not 'inf'"),
        ("conformer_aed", {"symbols_per_second": "nan"}, "not 'nan'"),
        ("conformer_aed", {"alphabet": "letter"}, "did you mean letters"),
    ],
)
def test_what_cannot_be_is_one_sentence(name, options, told):
    with pytest.raises(UsageError, match=told):
        build_upstream(name, options)


def test_a_decoder_is_charged_for_the_symbols_of_its_alphabet():
    small = {"weights": "random", "alphabet": "letters"}
    assert build_upstream("conformer_aed", {"weights": "random"}).symbols_per_second == 14
    assert build_upstream("conformer_aed.base", {"weights": "random"}).symbols_per_second == 3.5
    assert build_upstream("conformer_aed.base", small).symbols_per_second == 14
    own = build_upstream("conformer_aed.base", {**small, "symbols_per_second": "5"})
    assert own.symbols_per_second == 5


def test_numbered_pieces():
    many = numbered(5000)
    assert len(many) == 5000 and many.decode([1, 0, 27]) == "A AA"
    with pytest.raises(UsageError, match="alphabet=FILE"):
        many.encode("A WORD")


def test_power_is_heard_as_the_authors_code_does():
    plain = ConformerCTC(weights="random")
    theirs = ConformerCTC(weights="random", features="power_mel")
    loud, quiet = (next(iter(theirs.states(WAVS * gain, LENGTHS))) for gain in (1.0, 0.5))
    assert not torch.allclose(loud, quiet, atol=1e-2)
    assert plain.card.name != theirs.card.name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters"), [("conformer_ctc", 31_536_128), ("conformer_aed", 33_190_272)]
)
def test_one_step_and_one_answer_at_the_published_size(name, parameters):
    model = build_upstream(f"{name}.base", {"weights": "random"})
    assert sum(p.numel() for p in model.parameters()) == parameters
    left = run_until_exit(model, WAVS, LENGTHS, Exit((2, 4, 12), 1e6))
    assert left.depth.tolist() == [2, 2] and len(left.walked) == 3
    assert all(isinstance(model.decode(answer, "asr"), str) for answer in left.answers)
    model.train()
    adam = torch.optim.AdamW(model.parameters(), 1e-4, betas=(0.9, 0.98), eps=1e-9)
    frames, targets = model.frames(LENGTHS), [[5, 6, 7, 6], [9, 9]]
    losses = []
    for _ in range(2):
        loss = 0
        for depth, state in enumerate(model.states(WAVS, LENGTHS)):
            if str(depth) not in model.heads:
                continue
            scores = model.scores(depth, state, frames).transpose(0, 1)
            flat, counts = (
                torch.tensor([i for target in targets for i in target]),
                torch.tensor([4, 2]),
            )
            ctc = nn.functional.ctc_loss(scores, flat, frames, counts, reduction="sum")
            if name == "conformer_aed":
                written = model.heads[str(depth)].cross_entropy(state, frames, targets)
                ctc = 0.3 * ctc + 0.7 * written.sum()
            loss = loss + ctc
        losses.append(float(loss.detach()))
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert losses[1] < losses[0]
