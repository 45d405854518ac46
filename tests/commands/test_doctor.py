"""Packages that are missing or broken: what the doctor and the messages say."""

import pytest


@pytest.mark.parametrize(
    "said, meaning, command",
    [
        (
            (
                "RuntimeError: Detected that PyTorch and TorchAudio were compiled with different "
                "CUDA versions"
            ),
            "different CUDA",
            "torch torchaudio",
        ),
        (
            "OSError: libc10_cuda.so: cannot open shared object file",
            "different CUDA versions",
            "torch torchaudio",
        ),
        ("ModuleNotFoundError: No module named 'pkg_resources'", "setuptools 82", "setuptools"),
        ("AttributeError: module 'torchaudio' has no attribute 'set_audio_backend'", "shimmed", ""),
        (
            "ModuleNotFoundError: No module named 'pesq'",
            "a package it imports is not installed",
            "pesq",
        ),
    ],
)
def test_the_doctor_knows_the_failures_that_were_met(said, meaning, command):
    from earlyexit_superb.benchmark.commands.doctor import diagnose

    found, fix = diagnose(said, "pesq")
    assert (
        meaning in found
        and fix.endswith(command)
        and (fix == "" or fix.startswith("pip install "))
        and bool(fix) == bool(command)
    )


def test_the_doctor_says_when_pesq_cannot_be_built(monkeypatch):
    from earlyexit_superb.benchmark.commands.doctor import _line, compiler

    monkeypatch.setenv("CC", "no-such-compiler --flag")
    assert "a C compiler" in compiler() and "apt install gcc" in compiler()
    assert "apt install gcc" in _line(
        "pesq", "", "No module named 'pesq'"
    ) and "ok       pesq 0.0.4" in _line("pesq", "pesq 0.0.4", "")


def test_a_wheel_names_no_file_it_lacks(monkeypatch, tmp_path):
    from earlyexit_superb.benchmark import extras

    assert extras.install("se") == 'pip install -c constraints.txt -e ".[se]"'
    monkeypatch.setattr(extras, "HERE", tmp_path)
    assert extras.install("se,mini") == 'pip install "earlyexit-superb[se,mini]"'
    assert extras.tested("setuptools", "pesq") == '"setuptools<82" "pesq"'


@pytest.mark.parametrize(
    "error",
    [
        ImportError("x"),
        OSError("libcuda"),
        RuntimeError("different CUDA"),
        AttributeError("set_audio_backend"),
    ],
)
def test_a_broken_package_is_one_sentence(error, monkeypatch):
    import importlib

    from earlyexit_superb.benchmark.errors import MachineError, require

    monkeypatch.setattr(importlib, "import_module", lambda name: (_ for _ in ()).throw(error))
    with pytest.raises(
        MachineError, match=r"this needs the package thing, .* run: pip install .*\[asr\]"
    ):
        require("thing", "this", "asr")
