"""Audio files as people have them: all of their samples, or one sentence."""

import shutil
import struct

import numpy as np
import pytest
import soundfile
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.errors import UsageError
from helpers.sounds import rng, speechlike
from helpers.trees import sound, voicebank

WAV = speechlike(1.0)


def patched(path, place, pattern, value):
    data = bytearray(path.read_bytes())
    struct.pack_into(pattern, data, place, value)
    path.write_bytes(data)
    return path


def wav(folder, **how):
    soundfile.write(folder / "a.wav", WAV, 16_000, subtype="PCM_16", **how)
    return folder / "a.wav"


def flac(folder, frames):
    """One that declares so many samples a channel: the last 36 bits of bytes 21 to 26."""
    soundfile.write(folder / "a.flac", WAV, 16_000)
    data = bytearray((folder / "a.flac").read_bytes())
    data[21] = data[21] & 0xF0 | frames >> 32
    data[22:26] = struct.pack(">I", frames & 0xFFFFFFFF)
    (folder / "a.flac").write_bytes(data)
    return folder / "a.flac"


@pytest.mark.parametrize(
    "size", [0, 0x7FFFF000, 0x7FFFFFFF - 36, 0x7FFFFFFF, 0x80000000, 0xFFFFFFDB, 0xFFFFFFFF]
)
def test_a_wav_that_was_written_into_a_pipe_is_read_whole(tmp_path, size):
    whole = audio.read(wav(tmp_path))
    path = patched(patched(tmp_path / "a.wav", 40, "<I", size), 4, "<I", size)
    np.testing.assert_array_equal(audio.read(path), whole)
    np.testing.assert_array_equal(audio.read(path, 7_000, 500), whole[7_000:7_500])
    assert audio.length(path) == len(whole) == 16_000 and audio.inspect(path)[0].samples == 16_000


def test_a_size_of_nothing_before_another_chunk_is_no_placeholder(tmp_path):
    path = wav(tmp_path)
    chunk = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + bytes(range(100, 118))
    path.write_bytes(path.read_bytes()[:44] + chunk)
    patched(path, 4, "<I", path.stat().st_size - 8)
    with pytest.raises(UsageError, match="holds no samples|cut short"):
        audio.length(patched(path, 40, "<I", 0))


@pytest.mark.parametrize("loud_first", [True, False])
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)])
def test_an_mp3_whose_frames_nobody_counted_is_read_whole(tmp_path, loud_first, tag):
    sides = [0.3 * rng().standard_normal(32_000), np.zeros(64_000)]
    spoken = np.concatenate(sides if loud_first else sides[::-1])
    how = {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.1}
    soundfile.write(tmp_path / "a.mp3", spoken, 16_000, **how)
    counted = (tmp_path / "a.mp3").read_bytes()
    first = counted.index(counted[:2], 4)  # where the frame with the count ends
    (tmp_path / "b.mp3").write_bytes(tag + counted[first:])
    whole, found = audio.read(tmp_path / "a.mp3"), audio.read(tmp_path / "b.mp3")
    guessed = soundfile.info(tmp_path / "b.mp3").frames
    assert len(whole) == len(spoken) and abs(guessed / len(spoken) - 1) > 0.2
    # the count came with the encoder's delay of 576 samples, which is then cut
    assert len(found) == audio.length(tmp_path / "b.mp3") and len(spoken) < len(found) < 98_000
    np.testing.assert_allclose(found[576 : 576 + 95_000], whole[:95_000], atol=1e-4)


def text(folder, content, suffix="wav"):
    (folder / f"a.{suffix}").write_text(content)
    return folder / "a.wav"


def a_folder(folder):
    (folder / "a.wav").mkdir()
    return folder / "a.wav"


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
REFUSED = {
    "a flac that does not state its length": (lambda f: flac(f, 0), "does not say how long it"),
    "a flac that states 2^31 samples": (lambda f: flac(f, 2**31), "breaks off or is damaged"),
    "a flac that states 2^36 samples": (lambda f: flac(f, 2**36 - 1), "it lasts 1193 hours"),
    "a flac that states one sample too many": (lambda f: flac(f, 16_001), "breaks off"),
    "2^31 - 1 Hz": (lambda f: patched(wav(f), 24, "<I", 2**31 - 1), "2147483647 samples a se"),
    "1 Hz": (lambda f: patched(wav(f), 24, "<I", 1), "1 samples a second"),
    "a wav cut short": (lambda f: patched(wav(f), 40, "<I", 100_000), "(32000 of 100000"),
    "a folder": (a_folder, "there is no audio file"),
    "a git-lfs pointer": (lambda f: text(f, POINTER), "fetch the audio: git lfs pull"),
    "a page of the web": (lambda f: text(f, "<html>"), "cannot be read as audio"),
    "another suffix": (lambda f: text(f, "x", "m4a"), "but a.m4a beside it"),
    "a name that is too long": (lambda f: f / ("x" * 300 + ".wav"), "there is no audio file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_sentence(tmp_path, name):
    make, said = REFUSED[name]
    path = make(tmp_path)
    with pytest.raises(UsageError) as error:
        audio.inspect(path)
    assert said in str(error.value)
    with pytest.raises(UsageError):
        audio.read(path)


def test_stereo_that_cancels_is_silence(tmp_path, capsys):
    sound(tmp_path / "b.wav")
    soundfile.write(tmp_path / "a.wav", np.stack([WAV, -WAV], axis=1), 16_000)
    assert main(["data", "verify", str(tmp_path)]) == 2
    assert "a.wav is digital silence once its 2 channels are averaged" in capsys.readouterr().out


def test_a_recording_is_decoded_in_pieces(tmp_path, monkeypatch):
    path = wav(tmp_path)
    whole, peak = audio.read(path), audio.inspect(path)[1]
    monkeypatch.setattr(audio, "_BLOCK", 999)
    np.testing.assert_array_equal(audio.read(path), whole)
    assert audio.inspect(path)[1] == peak == float(np.abs(whole).max())


@pytest.mark.parametrize("task", ["se", "sid"])
def test_a_file_shorter_than_a_window_is_named(tmp_path, task, capsys):
    root = voicebank(tmp_path / "corpus")
    for side in ("clean", "noisy"):
        sound(root / f"{side}_testset_wav" / "p232_000.wav", 300)
    if task == "sid":
        lines = [f"{p},{s},x\n" for s in ("train", "dev") for p in sorted(root.glob("clean_tr*/*"))]
        lines += [f"{root / 'clean_testset_wav' / 'p232_000.wav'},test,x\n"]
        root = tmp_path / "list.csv"
        root.write_text("path,split,speaker\n" + "".join(lines))
    assert main(["data", "verify", str(root), "--task", task]) == 2
    assert "p232_000 of test has 300 samples, too few for a frame" in capsys.readouterr().out


def test_nist_sphere_is_read_under_the_name_of_timit(tmp_path):
    soundfile.write(tmp_path / "SA1.WAV", WAV, 16_000, format="NIST", subtype="PCM_16")
    assert audio.length(tmp_path / "SA1.WAV") == 16_000


def test_a_link_that_leads_nowhere_is_named(tmp_path, capsys):
    sound(tmp_path / "b.wav")
    (tmp_path / "a.wav").symlink_to(tmp_path / "gone.wav")
    shutil.copy(tmp_path / "b.wav", tmp_path / "c.wav")
    assert main(["data", "verify", str(tmp_path)]) == 2
    assert "there is no audio file" in capsys.readouterr().out


def test_long_audio_is_announced(tmp_path, capsys):
    lines = ["path,split,text"]
    for split in ("train", "dev", "test"):
        sound(tmp_path / f"{split}.wav", 16_000 * (90 if split == "test" else 1), rate=16_000)
        lines.append(f"{split}.wav,{split},YES")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    assert main(["data", "verify", str(tmp_path / "list.csv"), "--task", "asr"]) == 0
    said = capsys.readouterr().out
    assert "notice: 1 utterances are longer than 60 s; test has 1.5 min, 4499 frames" in said
    assert "as for 81 utterances of 10 s" in said
