"""Enhancement: s3prl's network, losses and waveforms again, and what masks must do whoever wrote
them.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from earlyexit_superb.benchmark.contract import Corpus, Example, Item
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.metrics import Failure, si_sdr
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.downstreams.mask_blstm import MaskBLSTM
from earlyexit_superb.downstreams.rnn import blstm
from earlyexit_superb.tasks import se
from earlyexit_superb.tasks.shared import features as feature_frames
from earlyexit_superb.tasks.shared.masking import without_clicks
from earlyexit_superb.tasks.shared.stft import hop_of, notices, stft_of
from helpers import hubert_frames, wav
from oracles import istft_by_definition, s3prl, s3prl_function, stft_by_definition, twins
from torch.nn.utils.rnn import pack_sequence, pad_sequence
from toys.toy import at

V1, V2, MINI = se.SUPERB_V1, se.S3PRL_V2, se.MINI
TASK = tasks.get("se")


def example(samples, seed=0):
    clean = wav(samples, seed)
    return Example(f"u{seed}", clean + wav(samples, seed + 100), clean)


# ---- the head ----


@pytest.mark.parametrize(
    "module, protocol, millions",
    [("enhancement_stft.model", V1, 50.97), ("enhancement_stft2.model", V2, 5.39)],
)
def test_masks_equal_s3prl(module, protocol, millions):
    torch.manual_seed(0)
    theirs, ours = twins(module, protocol, 768, 257)
    assert round(sum(p.numel() for p in ours.parameters()) / 1e6, 2) == millions
    rows = [torch.randn(n, 768) for n in (9, 5, 4)]
    with torch.no_grad():
        expected = theirs(pack_sequence(rows))[0]
        masks = ours(pad_sequence(rows, batch_first=True), torch.tensor([9, 5, 4]))
    for row, n in enumerate((9, 5, 4)):
        torch.testing.assert_close(masks[row, :n], expected[row, :n], atol=1e-5, rtol=1e-5)


def test_two_sources_equal_s3prl():
    theirs, ours = twins("separation_stft.model", replace(V2, hidden=16), 8, 33, sources=2)
    rows = [torch.randn(7, 8), torch.randn(3, 8)]
    expected = theirs(pack_sequence(rows))
    masks = ours(pad_sequence(rows, batch_first=True), torch.tensor([7, 3]))
    assert masks.shape == (2, 2, 7, 33)
    for source in (0, 1):
        torch.testing.assert_close(
            masks[1, source, :3], expected[source][1, :3], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize(
    "hidden, layers, bins, sources, millions", [(896, 3, 257, 2, 51.43), (256, 3, 513, 2, 5.78)]
)
def test_parameters_of_separation(hidden, layers, bins, sources, millions):
    with torch.device("meta"):
        head = MaskBLSTM(768, bins, hidden, layers, sources=sources)
    assert round(sum(p.numel() for p in head.parameters()) / 1e6, 2) == millions


def test_reading_rows_is_reading_packed_sequences():
    """The oneDNN way against torch's own, gradients too; rows in any order of length."""
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True)
    x, frames = torch.randn(3, 9, 6), torch.tensor([4, 7, 1])
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x, frames, batch_first=True, enforce_sorted=False
    )
    expected = torch.nn.utils.rnn.pad_packed_sequence(
        lstm(packed)[0], batch_first=True, total_length=9
    )[0]
    ours = blstm(lstm, x, frames)
    torch.testing.assert_close(ours, expected)
    weights = list(lstm.parameters())
    gradients = [torch.autograd.grad(out.square().sum(), weights) for out in (ours, expected)]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("protocol", [MINI, replace(V2, hidden=16)], ids=["hop 320", "hop 160"])
def test_neighbours_and_padding_do_not_change_a_row(protocol):
    torch.manual_seed(0)
    head = se.head(at(protocol, 24, 320)).eval()
    samples = torch.tensor([16_000, 9_000, 12_345])
    frames = torch.tensor([hubert_frames(int(n)) for n in samples])
    # what stands behind a row's end is never read
    features = torch.randn(3, int(frames.max()) + 4, 24)
    together = head(features, frames, samples)
    for row, (n, t) in enumerate(zip(samples, frames, strict=True)):
        alone = head(features[row : row + 1, :t], frames[row : row + 1], samples[row : row + 1])[0]
        spectra = 1 + int(n) // (protocol.hop or 320)
        assert alone.shape == (spectra, protocol.n_fft // 2 + 1)
        torch.testing.assert_close(together[row, :spectra], alone, atol=1e-5, rtol=1e-5)


def test_every_parameter_learns():
    head = se.head(at(MINI, 24, 320))
    batch = [example(6_000, 1), example(5_000, 2)]
    frames = torch.tensor([hubert_frames(len(e.wav)) for e in batch])
    prediction = head(torch.randn(2, 18, 24), frames, torch.tensor([6_000, 5_000]))
    se.loss(prediction, batch, frames, at(MINI)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())


# ---- features beside spectra ----


@pytest.mark.parametrize("stride, hop", [(320, 320), (160, 160), (320, 160)])
def test_features_are_matched_as_s3prl_matches_them(stride, hop):
    match_length = s3prl_function("enhancement_stft2.expert", "match_length", torch=torch)
    samples = torch.tensor([8_000, 6_399, 6_400, 6_481])
    frames = torch.tensor([(int(n) - 400) // stride + 1 for n in samples])
    features = torch.randn(4, int(frames.max()), 3)
    ours, spectra = feature_frames.match(features, frames, samples, stride, hop)
    assert spectra.tolist() == [1 + int(n) // hop for n in samples]
    rows = [features[i, :n].repeat_interleave(stride // hop, dim=0) for i, n in enumerate(frames)]
    for row, expected in zip(ours, match_length(rows, spectra.tolist()), strict=True):
        torch.testing.assert_close(row[: len(expected)], expected)
        assert not row[len(expected) :].any()


def test_more_features_than_spectra_are_cut():
    ours, spectra = feature_frames.match(
        torch.ones(1, 14, 2), torch.tensor([14]), torch.tensor([3_300]), 320, 320
    )
    assert ours.shape == (1, 11, 2) and int(spectra) == 11 and ours.all()


def test_utterances_too_short_for_a_window_are_named_before_anything_is_spent():
    items = [Item("long", Path("x"), 512), Item("short", Path("x"), 511)]
    corpus = Corpus("c", "0", {"train": items, "dev": (), "test": ()})
    assert list(TASK.check(corpus, V1, None)) == [
        "short of train has 511 samples, less than one window of 512"
    ]


def test_what_does_not_fit_is_said_so():
    ones = torch.ones(1, 12, 2)
    with pytest.raises(
        UsageError, match="12 frames for 8000 samples does not have a stride of 320"
    ):
        feature_frames.match(ones, torch.tensor([12]), torch.tensor([8_000]), 320, 320)
    with pytest.raises(UsageError, match="leave audio between them"):
        notices(at(replace(V1, n_fft=256, win=256), stride=640))
    with pytest.raises(UsageError, match="shorter than one window"):
        se.enhance(torch.ones(2, 257), wav(300), at(V1))
    with pytest.raises(UsageError, match="cannot cover"):
        se.enhance(torch.ones(20, 257), wav(16_000), at(V1))


@pytest.mark.parametrize(
    "stride, hop",
    [
        (80, 80),
        (160, 160),
        (320, 320),
        (640, 320),
        (960, 320),
        (1280, 320),
        (500, 250),
        (400, 200),
        (1000, 250),
        (641, 320),
    ],
)
def test_the_hop_follows_the_stride_or_a_part_of_it(stride, hop):
    assert hop_of(at(V1, stride=stride)) == stft_of(at(V1, stride=stride), 16_000).hop == hop
    assert hop_of(at(V2, stride=stride)) == V2.hop == 160
    said = notices(at(V1, stride=stride))
    assert said == (
        []
        if stride == hop
        else [
            f"feature frames every {stride} samples, "
            f"{'interpolated' if stride % hop else f'each read {stride // hop} times'} for an STFT "
            f"with a hop of {hop}"
        ]
    )


@pytest.mark.parametrize(
    "stride, hop",
    [(640, 320), (960, 320), (1280, 320), (480, 320), (641, 320), (400, 160), (80, 160)],
)
def test_features_of_any_stride_keep_their_time(stride, hop):
    """Features that say when they are: what a spectrum is given is of its own time, to within a
    frame, alone and in a batch.
    """
    samples = torch.tensor([32_000, 20_345])
    frames = torch.tensor([(int(n) - 400) // stride + 1 for n in samples])
    features = (torch.arange(int(frames.max())) + 0.5)[None, :, None].repeat(2, 1, 3) * stride
    features[1, frames[1] :] = torch.nan
    matched, spectra = feature_frames.match(features, frames, samples, stride, hop)
    assert spectra.tolist() == [1 + int(n) // hop for n in samples]
    for row, n in enumerate(frames.tolist()):
        reach = min(int(spectra[row]), round(n * stride / hop - 0.01))
        when = (torch.arange(reach) + 0.5) * hop
        assert (matched[row, :reach, 0] - when).abs().max() <= max(stride, hop) / 2
        if stride % hop:  # a line is itself, but for the held ends
            inner = (when >= stride / 2) & (when <= (n - 0.5) * stride)
            torch.testing.assert_close(
                matched[row, :reach, 0][inner], when[inner], atol=0.01, rtol=0
            )
        assert not matched[row, reach + 1 :].any()
        alone, _ = feature_frames.match(
            features[row : row + 1, :n], frames[row : row + 1], samples[row : row + 1], stride, hop
        )
        torch.testing.assert_close(matched[row, : alone.shape[1]], alone[0])


# ---- spectra ----

LENGTHS = (16_000, 16_159, 16_317)  # the last has samples that no window of 512 every 320 reaches


@pytest.mark.parametrize("protocol", [V1, V2, MINI], ids=lambda p: p.name)
@pytest.mark.parametrize("samples", LENGTHS)
def test_stft_and_its_inverse_by_definition(protocol, samples):
    x = wav(samples)
    stft = stft_of(at(protocol), samples)
    spectrum = stft(x)
    settings = stft.n_fft, stft.win, stft.hop
    np.testing.assert_allclose(
        spectrum, stft_by_definition(x.numpy(), *settings, stft.pad), atol=1e-5
    )
    assert len(spectrum) == stft.frames(samples)
    mask = torch.rand(spectrum.shape, generator=torch.Generator().manual_seed(1))
    expected = istft_by_definition((mask * spectrum).numpy(), *settings, samples)
    ours = stft.inverse(mask * spectrum, samples).numpy()
    # float32 rounding is magnified where the squared windows sum to almost nothing
    np.testing.assert_allclose(ours[:-160], expected[:-160], atol=1e-5)
    np.testing.assert_allclose(ours[-160:], expected[-160:], atol=1e-5, rtol=0.05)


@pytest.mark.parametrize("protocol", [V1, V2], ids=lambda p: p.name)
def test_stft_equals_librosa(protocol):
    librosa = pytest.importorskip(
        "librosa", reason="no librosa; the test by definition stands in for it"
    )
    x = wav(16_159)
    stft = stft_of(at(protocol), len(x))
    settings = {"hop_length": stft.hop, "win_length": stft.win, "window": "hann", "center": True}
    theirs = librosa.stft(x.numpy(), n_fft=stft.n_fft, pad_mode=stft.pad, **settings).T
    np.testing.assert_allclose(stft(x), theirs, atol=1e-5)
    back = librosa.istft(theirs.T, length=len(x), **settings)
    np.testing.assert_allclose(stft.inverse(stft(x), len(x))[:-160], back[:-160], atol=1e-5)


# ---- masks ----


def of_ones(protocol, e, value=1.0):
    frames = hubert_frames(len(e.wav))
    spectra = 1 + len(e.wav) // (protocol.hop or 320)
    # rows of a batch can be longer
    return torch.full((spectra + 3, protocol.n_fft // 2 + 1), value), frames


@pytest.mark.parametrize("protocol", [V1, V2, MINI], ids=lambda p: p.name)
def test_a_mask_of_ones_gives_the_noisy_back(protocol):
    e = example(16_159)
    enhanced = se.enhance(of_ones(protocol, e)[0], e.wav, at(protocol))
    assert enhanced.shape == e.wav.shape
    reach = len(e.wav) // 160 * 160 if protocol is V2 else len(e.wav) // 320 * 320
    torch.testing.assert_close(enhanced[:reach], e.wav[:reach], atol=1e-5, rtol=1e-4)
    if protocol.tail == "drop":
        assert not enhanced[reach:].any()


def test_a_mask_of_zeros_is_a_failure_and_no_crash():
    """s3prl's `postprocess` raises on it, and PESQ would."""
    e = example(16_159)
    mask, frames = of_ones(V1, e, 0.0)
    assert se.score(mask, e, frames, at(V1)) == dict.fromkeys(
        ("pesq", "stoi", "si_sdr_improvement"), Failure("silent estimate")
    )


@pytest.mark.parametrize("protocol", [V1, V2, MINI], ids=lambda p: p.name)
def test_the_ideal_mask_gives_the_clean_back(protocol):
    """With noise in the phase of the speech (here twice the speech on top of it) nothing is lost,
    and the loss is zero.
    """
    clean = wav(16_000)
    e = Example("u", 3 * clean, clean)
    frames = hubert_frames(16_000)
    stft = stft_of(at(protocol), 16_000)
    noisy, aim = stft(e.wav).abs(), stft(clean).abs()
    mask = aim.log1p() / noisy.log1p() if protocol.domain == "log1p" else aim / noisy
    enhanced = se.enhance(mask, e.wav, at(protocol))
    torch.testing.assert_close(enhanced[:-320], clean[:-320], atol=1e-5, rtol=1e-3)
    assert se.loss(mask[None], [e], torch.tensor([frames]), at(protocol)) < 1e-4


def test_the_ideal_mask_helps_against_other_noise():
    e, frames = example(16_000), hubert_frames(16_000)
    for protocol, least in ((V1, 5.0), (V2, 4.0)):
        stft = stft_of(at(protocol), 16_000)
        noisy, clean = stft(e.wav), stft(e.target)
        mask = clean.abs() * torch.relu(torch.cos(noisy.angle() - clean.angle())) / noisy.abs()
        if protocol.domain == "log1p":
            mask = clean.abs().log1p() / noisy.abs().log1p()
        assert se.score(mask, e, frames, at(protocol))["si_sdr_improvement"] > least


def test_enhanced_waveforms_of_the_second_recipe_by_definition():
    """s3prl/downstream/enhancement_stft2/expert.py in numpy: expm1, the noisy phase, and an
    inverse that is not told N.
    """
    e = example(16_159)
    spectrum = stft_by_definition(e.wav.numpy(), 512, 400, 160, "constant")
    mask = np.random.default_rng(0).uniform(size=spectrum.shape)
    masked = np.expm1(mask * np.log1p(np.abs(spectrum))) * spectrum / (np.abs(spectrum) + 1e-10)
    expected = np.zeros(16_159)
    expected[:16_000] = istft_by_definition(masked, 512, 400, 160, 16_000)
    ours = se.enhance(torch.from_numpy(mask).float(), e.wav, at(V2))
    np.testing.assert_allclose(ours, expected, atol=1e-5)


# ---- losses ----


def collated(examples, protocol):
    """The dictionaries that s3prl's collate_fn makes, longest utterance first."""

    def attributes(wavs):
        settings = protocol.n_fft, protocol.win, protocol.hop or 320, protocol.pad
        spectra = [torch.from_numpy(stft_by_definition(w.numpy(), *settings)) for w in wavs]
        return {
            "magnitude": pad_sequence([s.abs().float() for s in spectra], batch_first=True),
            "phase": pad_sequence([s.angle().float() for s in spectra], batch_first=True),
        }, [len(s) for s in spectra]

    source, lengths = attributes([e.wav for e in examples])
    target, _ = attributes([e.target for e in examples])
    return source, {key: [value] for key, value in target.items()}, torch.tensor(lengths)


LOSSES = [
    ("superb-v1", {}),
    ("s3prl-v2", {}),
    ("minisuperb", {}),
    ("superb-v1", {"aim": "am"}),
    ("s3prl-v2", {"aim": "npsm", "distance": "mse"}),
]


@pytest.mark.parametrize("name, changes", LOSSES)
def test_losses_equal_s3prl(name, changes):
    protocol = replace(TASK.protocols[name], **changes)
    examples = [example(9_000, 3), example(7_777, 4), example(5_120, 5)]
    source, target, lengths = collated(examples, protocol)
    first = name == "superb-v1"
    module = s3prl("enhancement_stft.loss" if first else "enhancement_stft2.loss")
    module.device = torch.device("cpu")
    objective = (
        module.MSELoss(1, protocol.aim.upper())
        if first
        else module.EnhLoss(1, protocol.distance.upper(), protocol.aim.upper(), protocol.domain)
    )
    masks = torch.rand(source["magnitude"].shape, generator=torch.Generator().manual_seed(0))
    expected = objective.compute_loss([masks], lengths, source, target)
    frames = torch.tensor([hubert_frames(len(e.wav)) for e in examples])
    torch.testing.assert_close(
        se.loss(masks, examples, frames, at(protocol)), expected, atol=1e-5, rtol=1e-5
    )


def test_the_loss_does_not_see_padding():
    examples = [example(9_000, 3), example(5_120, 5)]
    frames = torch.tensor([hubert_frames(9_000), hubert_frames(5_120)])
    masks = torch.rand(2, 29, 257)
    alone = [
        se.loss(masks[i : i + 1], examples[i : i + 1], frames[i : i + 1], at(V1)) for i in (0, 1)
    ]
    masks[1, 1 + 5_120 // 320 :] = 1e6
    torch.testing.assert_close(se.loss(masks, examples, frames, at(V1)), sum(alone) / 2)


# ---- clicks ----


def speech_then(*tail, samples=6_000):
    x = 0.5 * torch.sin(torch.arange(samples) / 7)
    for position, value in tail:
        x[position] = value
    return x


CLICKS = {
    "no click": speech_then(),
    "one": speech_then((5_800, 2.0)),
    "the first of two": speech_then((5_600, -0.9), (5_900, 2.0)),
    "before the last 512": speech_then((5_400, 2.0)),
    "exactly 512 before the end": speech_then((5_488, 2.0)),
    "512 and one before the end": speech_then((5_487, 2.0)),
    "before some zeros": torch.cat([speech_then((5_800, 2.0)), torch.zeros(2_048)]),
    "before too many zeros": torch.cat([speech_then((5_800, 2.0)), torch.zeros(2_049)]),
    "short": speech_then((400, 2.0), samples=512),
    "hardly long enough": speech_then((400, 2.0), samples=514),
}


@pytest.mark.parametrize("case", CLICKS)
def test_clicks_are_cut_as_s3prl_cuts_them(case):
    postprocess = s3prl_function("enhancement_stft.expert", "postprocess", np=np)
    np.testing.assert_array_equal(without_clicks(CLICKS[case]), postprocess(CLICKS[case].numpy()))


def test_clicks_are_cut_from_the_first_one_on():
    for case, first in (
        ("one", 5_800),
        ("the first of two", 5_600),
        ("exactly 512 before the end", 5_488),
    ):
        quiet = without_clicks(CLICKS[case])
        assert torch.equal(quiet[:first], CLICKS[case][:first]) and not quiet[first:].any()
    for case in ("no click", "before the last 512", "before too many zeros", "short"):
        assert torch.equal(without_clicks(CLICKS[case]), CLICKS[case])
    assert not without_clicks(torch.zeros(5_000)).any()


# ---- the task ----


def test_recipes_are_the_published_ones():
    """From the yaml files named in `source`."""

    def has(protocol, **fields):
        assert {name: getattr(protocol, name) for name in fields} == fields

    has(
        V1,
        lr=1e-4,
        batch=8,
        steps=150_000,
        clip=1.0,
        eval_every=1250,
        optimiser="adamw",
        accumulate=1,
        train_limit=None,
    )
    has(V1, n_fft=512, win=512, hop=0, hidden=896, layers=3, dropout=0.5, activation="relu")
    has(V1, aim="npsm", distance="mse", domain="magnitude", tail="guard", pad="reflect")
    has(
        V2,
        lr=1e-3,
        batch=8,
        steps=100_000,
        clip=1.0,
        eval_every=1250,
        optimiser="adamw",
        accumulate=1,
        train_limit=None,
    )
    has(V2, n_fft=512, win=400, hop=160, hidden=256, layers=3, dropout=0.1, activation="sigmoid")
    has(V2, aim="am", distance="l1", domain="log1p", tail="drop", pad="constant")
    small = TASK.protocols["minisuperb"]
    differs = {
        "steps": 10_000,
        "eval_every": 1000,
        "train_limit": 1000,
        "dev_limit": 300,
        "lr_grid": (1e-2, 1e-3, 1e-4),
    }
    has(small, **differs, test_limit=None, limit_seed=8830)
    assert replace(V2, **differs, name=small.name, source=small.source) == small
    assert (TASK.default, TASK.builtin) == ("superb-v1", "mini")
    assert [m.name for m in TASK.metrics] == ["pesq", "stoi", "si_sdr_improvement"]
    assert all(m.higher_is_better for m in TASK.metrics)


def test_a_recipe_with_a_typo_is_refused():
    with pytest.raises(UsageError, match="activation is relu or sigmoid, not 'tanh'"):
        replace(V1, activation="tanh")


def test_corpus_to_score(tmp_path):
    """A folder of three speakers and a perfect mask through the whole task."""
    import soundfile

    for part, names in (
        ("trainset_28spk", ("p225_001", "p226_001", "p287_001")),
        ("testset", ("p232_001",)),
    ):
        for side in ("clean", "noisy"):
            (tmp_path / f"{side}_{part}_wav").mkdir()
        for i, name in enumerate(names):
            e = example(12_000, i)
            soundfile.write(
                tmp_path / f"clean_{part}_wav" / f"{name}.wav", e.target.numpy(), 16_000
            )
            soundfile.write(tmp_path / f"noisy_{part}_wav" / f"{name}.wav", e.wav.numpy(), 16_000)
    corpus = TASK.corpus(tmp_path, V1)
    assert {split: len(items) for split, items in corpus.splits.items()} == {
        "train": 1,
        "dev": 2,
        "test": 1,
    }
    read = TASK.load(corpus.splits["test"][0])
    assert (
        read.wav.dtype == read.target.dtype == torch.float32
        and len(read.wav) == len(read.target) == 12_000
    )
    mask, frames = of_ones(MINI, read)
    scores, floor = TASK.score(mask, read, frames, at(MINI)), TASK.unprocessed(read, MINI)
    assert (
        list(scores) == list(floor) == [m.name for m in TASK.metrics]
        and floor["si_sdr_improvement"] == 0
    )
    assert all(isinstance(value, float) for value in (*scores.values(), *floor.values()))
    assert abs(scores["si_sdr_improvement"]) < 0.01
    assert si_sdr(read.target, read.wav) < 3  # and the files were not swapped


def test_standardised_features_have_no_constant_part_and_ignore_padding():
    from earlyexit_superb.tasks.shared.features import standardised

    torch.manual_seed(0)
    features, frames = 5 + 3 * torch.randn(2, 40, 6), torch.tensor([40, 25])
    out = standardised(features, frames)
    for row, n in enumerate(frames.tolist()):
        torch.testing.assert_close(out[row, :n].mean(0), torch.zeros(6), atol=1e-5, rtol=0)
        torch.testing.assert_close(out[row, :n].square().mean(0), torch.ones(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(out[1:, :25], standardised(features[1:, :25], frames[1:]))
    assert bool((out[1, 25:] == 0).all())
