"""Speech at several noise ratios: shares, ratios, who is in which split, the same bytes."""

from collections import Counter

import numpy as np
import pytest
import soundfile
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.commands.data_snr import shares_of
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.registry import tasks
from earlyexit_superb.benchmark.validation import opened
from earlyexit_superb.tasks.corpora import manifest, noise
from earlyexit_superb.tasks.corpora.make_snr import SHARES, _counted, crossed, make_snr
from earlyexit_superb.tasks.corpora.noisy_copies import Noises, file_names
from helpers.sounds import SPOKEN, mostly_silent, rng, spoken_list, tree


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    return spoken_list(tmp_path_factory.mktemp("speech"))


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Twelve noises, most of each digital silence."""
    root = tmp_path_factory.mktemp("noise")
    for i in range(12):
        audio.write(root / f"{'abcdefghijkl'[i]}.wav", mostly_silent(rng(i), 20_000))
    return root


def asr(folder):
    task = tasks.get("asr")
    return opened(task, folder, task.protocols["mini"])


def pcm(path):
    return soundfile.read(path, dtype="int16")[0].astype(np.int64)


def by_id(corpus):
    return {item.id: item for items in corpus.splits.values() for item in items}


def test_shares_ratios_and_labels_are_as_asked(speech, sounds, tmp_path):
    noises = Noises(("noise",), {"noise": sounds})
    made = make_snr(speech, tmp_path / "out", noises)
    before, after = asr(speech), asr(tmp_path / "out")
    assert (
        made["made"] == 33
        and after.hash != before.hash
        and any("10 parts 0 dB" in notice for notice in after.notices)
    )
    assert Counter(i.more["snr"] for i in after.splits["test"]) == {"clean": 4, 10: 3, 5: 2, 0: 1}
    used = {}
    for split, items in after.splits.items():
        assert [i.id for i in items] == [i.id for i in before.splits[split]]
        used[split] = {i.more["noise_file"] for i in items if "noise_file" in i.more}
    assert not (used["train"] & used["dev"] or used["train"] & used["test"])
    assert not used["dev"] & used["test"] and all(used.values())
    source = by_id(before)
    for id, item in by_id(after).items():
        old = source[id]
        assert (item.speaker, item.more["text"], item.samples) == (
            old.speaker,
            old.more["text"],
            old.samples,
        )
        added = pcm(item.path) - pcm(old.path)
        if item.more["snr"] == "clean":
            assert not added.any() and "noise" not in item.more
        else:
            assert noise.snr(pcm(old.path), added) == pytest.approx(item.more["snr"], abs=0.1)


def test_a_killed_run_goes_on_and_a_finished_one_is_not_done_again(speech, sounds, tmp_path):
    noises, out = Noises(("noise", "babble"), {"noise": sounds}), tmp_path / "out"
    first, whole = make_snr(speech, out, noises, limit=15), tree(out)
    (out / "manifest.csv").unlink()
    lost = sorted(out.rglob("*.wav"))[3]
    lost.unlink()
    assert make_snr(speech, out, noises, limit=15)["made"] == 1 and tree(out) == whole
    again = make_snr(speech, out, noises, limit=15)
    assert again["made"] == 0 and "nothing was done" in again["message"] and tree(out) == whole
    assert sum(first[split] for split in SPOKEN) == first["made"] == pytest.approx(15, abs=2)
    for changed in ({"seed": 1}, {"limit": 14}, {"shares": {0.0: 1.0}}):
        with pytest.raises(UsageError, match="is not what this command makes.*rm -r"):
            make_snr(speech, out, noises, **{"limit": 15, **changed})


def test_babble_is_of_five_others_and_of_nobody_in_two_splits(speech, tmp_path):
    make_snr(speech, tmp_path / "out", Noises(("babble",)), {None: 1.0, 5.0: 3.0})
    crowd = {}
    for split, items in asr(tmp_path / "out").splits.items():
        noisy = [i for i in items if i.more["snr"] == 5]
        said = [(i.speaker, i.more["noise_file"].split("+")) for i in noisy]
        assert all(len(set(who)) >= 5 and speaker not in who for speaker, who in said)
        crowd[split] = {name for _, who in said for name in who}
    assert not (crowd["train"] & crowd["dev"] or crowd["train"] & crowd["test"])
    assert not crowd["dev"] & crowd["test"]
    assert all(name.startswith("train") for who in crowd.values() for name in who)


def test_crossed_mixes_the_same_cut_at_every_ratio(speech, sounds, tmp_path):
    corpus = asr(speech)
    noises = Noises(("noise", "music"), {"noise": sounds})
    chosen = corpus.splits["test"][:2]
    items = crossed(corpus, chosen, tmp_path / "out", noises, (10.0, 0.0))
    assert [i.more["utterance"] for i in items] == [i.id for i in chosen for _ in range(5)]
    clean = pcm(chosen[0].path)
    of = {(i.more.get("noise"), i.more["snr"]): pcm(i.path) - clean for i in items[:5]}
    assert not of[None, "clean"].any()
    for kind in noises.kinds:
        loud, soft = of[kind, 0.0], of[kind, 10.0]
        assert np.corrcoef(loud, soft)[0, 1] > 0.999
        assert noise.snr(loud, soft) == pytest.approx(10, abs=0.2)
    assert crossed(corpus, chosen, tmp_path / "out", noises, (10.0, 0.0)) == items


def test_requests_that_cannot_be_met(speech, sounds, tmp_path):
    with pytest.raises(UsageError, match="babble needs 5 of their own.*--babble DIR"):
        make_snr(speech, tmp_path / "out", Noises(("babble",), {"babble": speech}))
    with pytest.raises(UsageError, match="lie among its own sources"):
        make_snr(speech, sounds / "out", Noises(("noise",), {"noise": sounds}))
    for kinds, folders, said in (
        (("rain",), {}, "no kind of noise 'rain'"),
        (("noise", "noise"), {}, "once"),
        (("noise",), {"music": sounds}, "--kinds noise music"),
        (("noise", "music"), {"noise": sounds, "music": sounds / "a"}, "from one folder"),
    ):
        with pytest.raises(UsageError, match=said):
            Noises(kinds, folders)
    for bad in ("clean", "ten=3", "5=-1", "5=nan", "inf=1"):
        with pytest.raises(UsageError, match="--shares takes"):
            shares_of([bad])
    with pytest.raises(UsageError, match="twice"):
        shares_of(["5=1", "5.0=2"])
    with pytest.raises(UsageError, match="all 0"):
        shares_of(["5=0"])
    assert shares_of(["clean=40", "10=30", "5=20", "0=10"]) == SHARES


def test_shares_are_rounded_to_the_nearest_whole_that_adds_up():
    for n in range(40):
        counts = Counter(_counted(SHARES, n))
        assert sum(counts.values()) == n
        assert all(abs(counts[k] - n * share / 100) < 1 for k, share in SHARES.items())


def test_ids_that_are_no_file_names_are_changed_and_stay_apart():
    assert file_names(["a-1", "a/b", "a b", "..", "é"]) == ["a-1", "a_b", "a_b-2", "utterance", "é"]


def test_the_command_and_a_ratio_that_is_none(speech, tmp_path, capsys):
    flags = ["data", "snr", "--speech", str(speech), "--out", str(tmp_path / "out")]
    assert main([*flags, "--shares", "clean=1", "20=1"]) == 0
    assert "18 train, 5 dev, 10 test" in capsys.readouterr().out
    ratios = [entry.more["snr"] for entry in manifest.read(tmp_path / "out" / "manifest.csv")]
    assert Counter(ratios)["clean"] in (16, 17) and set(ratios) == {"clean", 20.0}
    assert main([*flags, "--limit", "2"]) == 2
    (tmp_path / "list.csv").write_text("path,snr\na.wav,loud\n")
    with pytest.raises(UsageError, match="line 2 has the snr 'loud'"):
        manifest.read(tmp_path / "list.csv")
