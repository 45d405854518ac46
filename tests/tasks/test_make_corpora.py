"""The corpora: voices, noises, mixing, files, the VoiceBank-DEMAND layout, and what is said of bad
input.
"""

import csv
import logging
import random
import re
import sys

import numpy as np
import pytest
import soundfile
from earlyexit_superb.benchmark import audio as _audio
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.errors import MachineError, UsageError
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.benchmark.storage import cache_dir
from earlyexit_superb.benchmark.validation import opened
from earlyexit_superb.tasks.corpora import builtin, espeak, make_noisy
from earlyexit_superb.tasks.corpora import noise as noises
from earlyexit_superb.tasks.corpora.mini import se as mini


def voicebank(root):
    """A folder of that layout as a run opens it."""
    se = tasks.get("se")
    return opened(se, root, se.protocols["mini"])


def rng(seed=0):
    return np.random.default_rng(seed)


def speechlike(seconds=1.5, seed=0):
    """Bursts with pauses: what the active part is for."""
    t = np.arange(int(seconds * 16_000)) / 16_000
    return (0.2 * rng(seed).standard_normal(len(t)) * (np.sin(2 * np.pi * 1.5 * t) > 0)).astype(
        np.float32
    )


# ---- voices ----


def test_speech_does_not_depend_on_what_was_spoken_before():
    pytest.importorskip("espeakng_loader")
    cast, said = espeak.voices(12), random.Random(0)
    jobs = [(voice, espeak.sentence(said)) for voice in cast]
    jobs += [
        (espeak.Voice("breathy", "en-us+f2", 50, 170), "the thief whispered"),
        (cast[0], "again"),
    ]
    first = [espeak.speak(*job) for job in jobs]
    for i in random.Random(1).sample(range(len(jobs)), len(jobs)):
        np.testing.assert_array_equal(espeak.speak(*jobs[i]), first[i])
    for wav in first:
        assert wav.dtype == np.float32 and 0.02 < np.abs(wav).max() < 0.99  # heard and not clipped


def test_every_built_in_voice_exists_and_sounds_unlike_the_others():
    pytest.importorskip("espeakng_loader")
    bases = [f"{accent}+m1" for accent in espeak.ACCENTS] + [
        f"en-us+{variant}" for variant in espeak.VARIANTS[1:]
    ]
    spoken = [
        espeak.speak(espeak.Voice(base, base, 50, 170), "a bath of hot water, dance")
        for base in bases
    ]
    assert len({wav.tobytes() for wav in spoken}) == len(bases)


def test_voices_are_distinct_and_a_longer_list_begins_with_the_shorter():
    many = espeak.voices(600, seed=3)
    assert len(set(many)) == len({v.name for v in many}) == 600
    assert many[:40] == espeak.voices(40, seed=3) != espeak.voices(40, seed=4)
    bases = len(espeak.ACCENTS) * len(espeak.VARIANTS)
    assert len({v.base for v in many[:bases]}) == bases


def test_sentences_are_short_plain_and_rich_in_words():
    said = [espeak.sentence(r) for r in [random.Random(0)] for _ in range(3000)]
    assert all(
        3 <= len(s.split()) <= 10 and set(s) <= set("abcdefghijklmnopqrstuvwxyz' ") for s in said
    )
    assert len({w for s in said for w in s.split()}) > 400


def test_an_unknown_voice_is_refused():
    pytest.importorskip("espeakng_loader")
    with pytest.raises(UsageError, match="no voice 'en-us.x9'"):
        espeak.speak(espeak.Voice("x", "en-us.x9", 50, 170), "hello")


def test_speech_complaints(monkeypatch):
    with pytest.raises(UsageError, match="nothing to speak"):
        espeak.speak(espeak.voices(1)[0], " ... ")
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MachineError, match=r"run: pip install .*\[mini\]"):
        espeak.speak(espeak.voices(1)[0], "hello")


# ---- noises and mixing ----


def mostly_silent(draw, samples):
    """A dog that barks once: digital silence but for 60 ms."""
    wav = np.zeros(samples, np.float32)
    wav[samples // 2 : samples // 2 + 960] = 0.3 * draw.standard_normal(960)
    return wav


NOISES = noises.GENERATORS | {
    "babble": lambda draw, n: noises.babble(
        draw, n, [speechlike(2 + 0.1 * i, seed=i) for i in range(5)]
    ),
    "mostly silent": mostly_silent,
}


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("ratio", [17.5, 0.0, -5.0])
def test_the_ratio_asked_for_is_the_ratio_there_is(kind, ratio):
    speech = speechlike()
    for samples in (40_000, 5_000):  # to be cut, to be looped
        noise = NOISES[kind](rng(1), samples)
        assert noise.dtype == np.float32 and noise.shape == (samples,)
        mixed = noises.mix(speech, noise, ratio, rng(2))
        assert noises.snr(mixed.clean, mixed.noise) == pytest.approx(ratio, abs=1e-3)
        np.testing.assert_array_equal(mixed.noisy, mixed.clean + mixed.noise)
        assert np.abs(mixed.noisy).max() <= 0.981


@pytest.mark.parametrize("kind", noises.GENERATORS)
def test_noises_repeat_with_their_seed_only(kind):
    make = noises.GENERATORS[kind]
    np.testing.assert_array_equal(make(rng(5), 16_000), make(rng(5), 16_000))
    assert not np.array_equal(make(rng(5), 16_000), make(rng(6), 16_000))
    assert noises.active_power(make(rng(5), 16_000)) == pytest.approx(0.01, rel=1e-4)
    assert len(make(rng(5), 100)) == 100


def slope(wav):
    """dB an octave between 100 Hz and 6.4 kHz."""
    power, hz = np.abs(np.fft.rfft(wav)) ** 2, np.fft.rfftfreq(len(wav), 1 / 16_000)
    edges = 100 * 2.0 ** np.arange(7)
    bands = [10 * np.log10(power[(hz >= a) & (hz < 2 * a)].mean()) for a in edges[:-1]]
    return np.polyfit(range(len(bands)), bands, 1)[0]


def test_pink_falls_by_3_db_an_octave_and_white_by_none():
    assert slope(noises.pink(rng(), 320_000)) == pytest.approx(-3.01, abs=0.15)
    assert slope(noises.white(rng(), 320_000)) == pytest.approx(0, abs=0.15)


def test_silence_around_a_sound_does_not_change_its_ratio():
    speech, noise = speechlike(), noises.white(rng(), 16_000)
    assert noises.snr(np.pad(speech, 16_000), np.pad(noise, 32_000)) == pytest.approx(
        noises.snr(speech, noise), abs=0.01
    )


def test_a_loud_mixture_is_turned_down_as_a_whole():
    speech = speechlike() * 4
    mixed = noises.mix(speech, noises.white(rng(), 16_000), 0.0, rng())
    np.testing.assert_allclose(mixed.clean / mixed.clean.max(), speech / speech.max(), atol=1e-6)
    assert np.abs(mixed.noisy).max() == pytest.approx(noises.PEAK, abs=1e-3)


def test_mixing_complaints():
    for speech, noise in ((np.zeros(16_000), speechlike()), (speechlike(), np.zeros(16_000))):
        with pytest.raises(UsageError, match="digital silence"):
            noises.mix(speech, noise, 5.0, rng())
    with pytest.raises(UsageError, match="at least 5 talkers and got 4"):
        noises.babble(rng(), 100, [speechlike()] * 4)


# ---- files ----


def test_48_khz_stereo_is_averaged_resampled_and_said_once(tmp_path, monkeypatch, caplog):
    from scipy.signal import resample_poly

    monkeypatch.setattr(_audio, "_noticed", set())
    stereo = 0.3 * rng().standard_normal((48_001, 2))
    soundfile.write(tmp_path / "a.wav", stereo, 48_000, subtype="FLOAT")
    with caplog.at_level(logging.WARNING, "earlyexit_superb"):
        wav = _audio.read(tmp_path / "a.wav")
        part = _audio.read(tmp_path / "a.wav", 1_000, 500)
    expected = resample_poly(stereo.astype(np.float32).astype(np.float64).mean(axis=1), 1, 3)
    np.testing.assert_allclose(wav, expected, atol=1e-6)
    np.testing.assert_array_equal(part, wav[1_000:1_500])
    assert wav.dtype == np.float32 and len(wav) == _audio.length(tmp_path / "a.wav") == 16_001
    said = [r.getMessage() for r in caplog.records]
    assert (
        len(said) == 2
        and "2 channels" in said[0]
        and "48000 Hz" in said[1]
        and _audio.RESAMPLER in said[1]
    )


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_round_trip_through_16_bits_is_exact(tmp_path, suffix):
    wav = (rng().integers(-32768, 32768, 16_000) / 32768).astype(np.float32)
    _audio.write(tmp_path / f"a.{suffix}", wav)
    np.testing.assert_array_equal(_audio.read(tmp_path / f"a.{suffix}"), wav)
    np.testing.assert_array_equal(_audio.read(tmp_path / f"a.{suffix}", 100, 50), wav[100:150])
    assert [p.name for p in tmp_path.iterdir()] == [f"a.{suffix}"]  # nothing half-written is left


def test_opus_is_read(tmp_path):
    soundfile.write(tmp_path / "a.opus", speechlike(), 16_000, format="OGG", subtype="OPUS")
    assert len(_audio.read(tmp_path / "a.opus")) == _audio.length(tmp_path / "a.opus") == 24_000


def spoil(path, how):
    """Make a good file bad; what the complaint must say."""
    whole = path.read_bytes()
    if how == "missing":
        path.unlink()
        return "no audio file"
    if how == "empty":
        path.write_bytes(b"")
        return "empty file"
    if how == "not audio":
        path.write_bytes(b"<html>not found</html>")
        return "cannot be read as audio"
    if how == "cut":
        path.write_bytes(whole[: len(whole) // 2])
        return "cut short|breaks off"
    wav = {
        "no samples": np.zeros(0),
        "not finite": np.array([0.1, np.nan, 0.2]),
        "silent": np.zeros(24_000),
    }[how]
    soundfile.write(path, wav, 16_000, subtype="FLOAT")
    return {
        "no samples": "holds no samples",
        "not finite": "not finite",
        "silent": "digital silence",
    }[how]


BAD = ["missing", "empty", "not audio", "cut", "no samples", "not finite"]


@pytest.mark.parametrize("how", BAD)
def test_a_bad_file_stops_with_its_name(tmp_path, how):
    _audio.write(tmp_path / "a.wav", speechlike())
    said = spoil(tmp_path / "a.wav", how)
    with pytest.raises(UsageError, match=said) as complaint:
        _audio.read(tmp_path / "a.wav")
    assert "a.wav" in str(complaint.value)


def test_a_cut_flac_is_noticed(tmp_path):
    _audio.write(tmp_path / "a.flac", speechlike())
    said = spoil(tmp_path / "a.flac", "cut")
    with pytest.raises(UsageError, match=said):
        _audio.read(tmp_path / "a.flac")


def test_a_part_outside_the_file_is_refused(tmp_path):
    _audio.write(tmp_path / "a.wav", speechlike())
    with pytest.raises(UsageError, match="has 24000 samples"):
        _audio.read(tmp_path / "a.wav", 23_000, 2_000)


# ---- the VoiceBank-DEMAND layout ----


def pairs(
    root,
    train=("p226_001", "p230_001", "p230_002", "p287_001"),
    test=("p232_001", "p257_001"),
    ending="",
):
    for part, names in (("trainset_28spk_wav", train), ("testset_wav", test)):
        for side in ("clean", "noisy"):
            (root / f"{side}_{part}{ending}").mkdir(parents=True)
            for i, name in enumerate(names):
                _audio.write(
                    root / f"{side}_{part}{ending}" / f"{name}.wav",
                    speechlike(seed=i) + (side == "noisy") * 0.01,
                )
    return root


@pytest.mark.parametrize("ending", ["", "_16k"])
def test_voicebank_splits_by_speaker_here_and_one_level_deeper(tmp_path, ending):
    corpus = voicebank(pairs(tmp_path / "vb", ending=ending))
    assert {split: [item.id for item in items] for split, items in corpus.splits.items()} == {
        "train": ["p230_001", "p230_002"],
        "dev": ["p226_001", "p287_001"],
        "test": ["p232_001", "p257_001"],
    }
    item = corpus.splits["test"][0]
    assert (item.speaker, item.samples, item.path.name) == ("p232", 24_000, item.more["clean"].name)
    assert "noisy" in item.path.parent.name and "clean" in item.more["clean"].parent.name
    assert corpus.notices == () and corpus.name == "vb" and corpus.hash == voicebank(tmp_path).hash


def test_without_its_development_speakers_a_fifth_is_held_out_and_said(tmp_path):
    corpus = voicebank(pairs(tmp_path, train=[f"p226_{i:03d}" for i in range(1, 11)]))
    assert [item.id for item in corpus.splits["dev"]] == ["p226_009", "p226_010"] and len(
        corpus.splits["train"]
    ) == 8
    assert "last 2 of 10 training utterances" in corpus.notices[0]


def test_the_hash_follows_the_content(tmp_path):
    before = voicebank(pairs(tmp_path)).hash
    _audio.write(tmp_path / "noisy_testset_wav" / "p232_001.wav", speechlike(seed=9))
    assert voicebank(tmp_path).hash != before


def test_other_rates_are_noted_in_the_corpus(tmp_path):
    pairs(tmp_path)
    for side in ("clean", "noisy"):
        soundfile.write(
            tmp_path / f"{side}_testset_wav" / "p232_001.wav", np.tile(speechlike(), 3), 48_000
        )
    corpus = voicebank(tmp_path)
    assert "48000 Hz, resampled to 16000 Hz by scipy.signal.resample_poly" in corpus.notices[0]
    assert corpus.splits["test"][0].samples == 24_000


@pytest.mark.parametrize("how", [*BAD[1:], "silent"])
def test_every_bad_pair_is_named_at_once(tmp_path, how, capsys, monkeypatch):
    """By a run as far as headers tell, by `data verify` all of it; only that decodes."""
    pairs(tmp_path)
    said = spoil(tmp_path / "clean_trainset_28spk_wav" / "p230_002.wav", how)
    for side, name in (("noisy", "p257_001"), ("clean", "p232_001")):
        _audio.write(tmp_path / f"{side}_testset_wav" / f"{name}.wav", speechlike(2.0))
    assert main(["data", "verify", str(tmp_path)]) == 2
    problems = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("problem: ")
    ]
    assert (
        len(problems) >= 3
        and re.search(said, " ".join(problems))
        and "clean_trainset_28spk_wav/p230_002.wav" in " ".join(problems)
    )
    monkeypatch.setattr(_audio, "_decode", None)
    with pytest.raises(UsageError) as complaint:
        voicebank(tmp_path)
    for part in ("p257_001.wav is shorter (24000", "p232_001.wav is longer (32000"):
        assert part in str(complaint.value)
    if how not in ("not finite", "silent"):
        assert re.search(said, str(complaint.value))


def test_files_without_partner_are_counted_beyond_the_tenth(tmp_path):
    pairs(tmp_path)
    for i in range(12):
        _audio.write(tmp_path / "clean_testset_wav" / f"p300_{i:03d}.wav", speechlike(0.1))
    (tmp_path / "clean_testset_wav" / "p232_001.wav").unlink()
    with pytest.raises(
        UsageError,
        match=r"cannot serve se: p232_001.wav of testset_wav has no clean partner"
        r".*p300_000.wav of testset_wav has no noisy partner.*and 3 more",
    ):
        voicebank(tmp_path)


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(UsageError, match="there is no"):
        voicebank(tmp_path / "nowhere")
    with pytest.raises(
        UsageError, match="none of the layouts with clean.*VoiceBank-DEMAND.*data noisy --speech"
    ):
        voicebank(tmp_path)
    pairs(tmp_path)
    (tmp_path / "clean_trainset_28spk_wav").rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="lacks the folder clean_trainset_28spk_wav"):
        voicebank(tmp_path)


# ---- anybody's recordings ----


@pytest.fixture
def recordings(tmp_path):
    """Six speakers in LibriSpeech's tree, six noises of which two are cuts of one recording."""
    for speaker in range(6):
        folder = tmp_path / "speech" / str(speaker) / "7"
        folder.mkdir(parents=True)
        for i in range(3):
            _audio.write(
                folder / f"{speaker}-7-{i:04d}.flac",
                speechlike(1.0 + i / 10, seed=10 * speaker + i),
            )
    _audio.write(tmp_path / "speech" / "0" / "7" / "0-7-0009.flac", speechlike(0.5))
    (tmp_path / "noise").mkdir()
    for name in ("rain-00", "rain-03", "dog-A", "dog-B", "wind", "hall", "sea"):
        _audio.write(tmp_path / "noise" / f"{name}.wav", mostly_silent(rng(len(name)), 20_000))
    return tmp_path


def rows(folder):
    with open(folder / "splits.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_made_corpora_share_neither_speaker_nor_noise_between_splits(recordings):
    made = make_noisy.make_noisy(recordings / "speech", recordings / "noise", recordings / "out")
    table = rows(recordings / "out")
    assert (made["train"], made["dev"], made["test"], made["skipped"], made["noises"]) == (
        12,
        3,
        3,
        1,
        5,
    )
    for key in (
        lambda row: row["speaker"],
        lambda row: row["noise"].split(".")[0].rstrip("0123456789AB").rstrip("-"),
    ):
        of = {
            split: {key(row) for row in table if row["split"] == split}
            for split in ("train", "dev", "test")
        }
        assert all(of.values()) and not (
            of["train"] & of["dev"] or of["train"] & of["test"] or of["dev"] & of["test"]
        )
    corpus = voicebank(recordings / "out")
    for split, items in corpus.splits.items():
        assert len(items) == made[split]
        for item in items:
            clean, noisy = (
                soundfile.read(p, dtype="int16")[0] for p in (item.more["clean"], item.path)
            )
            assert item.more["snr"] in make_noisy.SNRS[split]
            assert noises.snr(clean, noisy - clean) == pytest.approx(item.more["snr"], abs=0.1)
            assert item.samples == len(clean) >= 16_000


def tree(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_the_same_request_gives_the_same_bytes_and_is_not_done_twice(recordings):
    speech, noise, out = recordings / "speech", recordings / "noise", recordings / "out"
    first = make_noisy.make_noisy(speech, noise, out, seed=1, limit=9)
    assert 7 <= first["train"] + first["dev"] + first["test"] <= 11
    make_noisy.make_noisy(speech, noise, recordings / "again", seed=1, limit=9)
    assert tree(out) == tree(recordings / "again")
    second = make_noisy.make_noisy(speech, noise, out, seed=1, limit=9)
    assert not second["made"] and "nothing was done" in second["message"]
    with pytest.raises(UsageError, match="exists and is not what this command makes.*rm -r"):
        make_noisy.make_noisy(speech, noise, out, seed=2, limit=9)
    assert not list(recordings.glob(".*"))  # no half-made folder


def test_noisy_complaints(recordings):
    speech, noise, out = recordings / "speech", recordings / "noise", recordings / "out"
    with pytest.raises(UsageError, match="has 1 speakers"):
        make_noisy.make_noisy(speech / "0", noise, out)
    with pytest.raises(UsageError, match="lie among its own sources"):
        make_noisy.make_noisy(speech, noise, noise / "out")
    with pytest.raises(UsageError, match="no folder"):
        make_noisy.make_noisy(speech, recordings / "nowhere", out)
    for path in noise.iterdir():
        _audio.write(path, np.zeros(16_000))
    with pytest.raises(UsageError, match=r"cannot be mixed with .*digital silence"):
        make_noisy.make_noisy(speech, noise, out)
    assert not out.exists() and not list(recordings.glob(".*"))  # a failure leaves nothing behind


def test_a_manifest_says_who_speaks(recordings):
    lines = [f"speech/{s}/7/{s}-7-{i:04d}.flac,s{s // 2}\n" for s in range(6) for i in range(3)]
    (recordings / "MANIFEST.csv").write_text("path,speaker\n" + "".join(lines))
    make_noisy.make_noisy(recordings / "speech", recordings / "noise", recordings / "out")
    assert {row["speaker"] for row in rows(recordings / "out")} == {"s0", "s1", "s2"}


def test_hundreds_of_numbered_files_are_not_taken_for_one_recording(tmp_path):
    (tmp_path / "musan").mkdir()
    for i in range(make_noisy.SERIES + 1):
        _audio.write(tmp_path / "musan" / f"noise-free-sound-{i:04d}.wav", np.ones(10) / 2)
    assert len(make_noisy._recordings(tmp_path / "musan")) == make_noisy.SERIES + 1


# ---- the built-in corpus ----


@pytest.fixture
def small_mini(monkeypatch):
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(mini, "SIZES", {"train": (3, 12), "dev": (1, 12), "test": (2, 12)})
    monkeypatch.setattr(mini, "GENERATORS", {k: noises.GENERATORS[k] for k in ("pink", "clicks")})


def test_the_mini_corpus_is_made_once_and_the_same_everywhere(
    small_mini, tmp_path, monkeypatch, caplog
):
    folders = []
    for home in ("a", "b"):
        monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / home))
        folders.append(builtin.made(mini.BUILTIN))
    assert tree(folders[0]) == tree(folders[1])
    before = {p: p.stat().st_mtime_ns for p in folders[1].rglob("*")}
    assert builtin.made(mini.BUILTIN) == folders[1] and before == {
        p: p.stat().st_mtime_ns for p in folders[1].rglob("*")
    }
    assert "not sample for sample the usual one" in caplog.text  # true here: it is smaller
    corpus = voicebank(folders[0])
    assert {split: len(items) for split, items in corpus.splits.items()} == {
        "train": 12,
        "dev": 12,
        "test": 12,
    }
    speakers = [{item.speaker for item in items} for items in corpus.splits.values()]
    assert len(set.union(*speakers)) == sum(map(len, speakers)) == 6
    assert all(
        32_000 <= item.samples <= 64_000 for items in corpus.splits.values() for item in items
    )


def test_who_comes_second_to_a_new_corpus_keeps_the_first(tmp_path):
    part = make_noisy.Part(
        "train", "a_001.wav", "a", "white", 5.0, "", speechlike(), noises.white(rng(), 16_000)
    )
    made = [make_noisy.write_voicebank(tmp_path / "out", [part], 1, "", 0) for _ in range(2)]
    assert made[0] == made[1] and [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_the_whole_mini_corpus_is_the_usual_one(tmp_path, monkeypatch, caplog):
    pytest.importorskip("espeakng_loader")
    caplog.set_level("WARNING", "earlyexit_superb")
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path))
    assert (
        f"pcm: {mini.PCM}\n" in (builtin.made(mini.BUILTIN) / "README.txt").read_text()
        and not caplog.text
    )


def test_the_cache_folder_can_be_moved_and_complains(tmp_path, monkeypatch):
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / "new" / "cache"))
    assert cache_dir() == tmp_path / "new" / "cache" and cache_dir().is_dir()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(MachineError, match="EARLYEXIT_SUPERB_CACHE="):
        cache_dir()
