"""What a training without labels hears: no dev and no test split."""

import logging
from pathlib import Path

import numpy as np
import pytest
from earlyexit_superb.benchmark import audio
from earlyexit_superb.benchmark.engine import training_start
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.training_data import files
from earlyexit_superb.upstreams.hubert import Hubert


def tree(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        audio.write(root / name, np.zeros(8, np.float32))
    return root


def heard(folder):
    return [str(path.relative_to(folder)) for path in files(folder)]


def test_published_dev_and_test_sets_are_not_heard(tmp_path, caplog):
    names = [f"{of}/1/2/a.flac" for of in ("dev-clean", "test-other", "train-clean-100")]
    root = tree(tmp_path / "LibriSpeech", *names)
    assert heard(root) == ["train-clean-100/1/2/a.flac"]
    assert heard(root / "dev-clean") == ["1/2/a.flac"]  # who names it wants it
    config = training_start.TrainingConfig("hubert.tiny", tmp_path, data=(root,))
    with caplog.at_level(logging.WARNING, "earlyexit_superb"):
        training_start._data(config, Hubert.trained_by)
    assert "does not hear dev-clean, test-other of" in caplog.text
    with pytest.raises(UsageError, match="nothing but dev and test sets"):
        files(tree(tmp_path / "rest", "dev-other/a.flac"))


def test_rows_of_a_manifest_that_are_for_testing_are_not_heard(tmp_path):
    tree(tmp_path, "a.wav", "b.wav", "c.wav", "d.wav")
    lines = ["id,split,path", "1,train,a.wav", "2,dev,b.wav", "3,test,c.wav", "4,,d.wav"]
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    assert heard(tmp_path) == ["a.wav", "d.wav"]
    pieces = [*lines, "5,train,b.wav"]  # of one recording, of which another piece is for testing
    (tmp_path / "manifest.csv").write_text("\n".join(pieces))
    assert heard(tmp_path) == ["a.wav", "d.wav"]
    (tmp_path / "manifest.csv").write_text("\n".join(lines[:1] + lines[2:4]))
    with pytest.raises(UsageError, match="no row of a training split"):
        files(tmp_path)


def test_a_list_of_somebody_else_s_is_no_list_of_splits(tmp_path):
    tree(tmp_path, "a.wav", "b.wav")
    for text in ("file,length\na.wav,3\n", "path,split\na.wav,train\n".encode("utf-16")):
        write = Path.write_text if isinstance(text, str) else Path.write_bytes
        write(tmp_path / "manifest.csv", text)
        assert heard(tmp_path) == ["a.wav", "b.wav"]


def test_files_that_a_list_names_and_are_not_there_are_one_sentence(tmp_path):
    tree(tmp_path, "wav/b.wav")
    (tmp_path / "iden_split.txt").write_text("1 a.wav\n1 b.wav\n3 c.wav\n")
    with pytest.raises(
        UsageError, match=r"1 of the 2 training files .* not there, such as .*a.wav"
    ):
        files(tmp_path)
    tree(tmp_path, "wav/a.wav")
    assert heard(tmp_path) == ["wav/a.wav", "wav/b.wav"]
