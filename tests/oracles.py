"""What parity tests are held to: s3prl's own modules, and spectra by their definition.

s3prl and espnet-s3prl both bring the folder s3prl/; either serves, and neither is required.
"""

import ast
import contextlib
import importlib
import importlib.util
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from earlyexit_superb.benchmark.s3prl_compat import s3prl_shim
from earlyexit_superb.downstreams.mask_blstm import MaskBLSTM


def distribution():
    """Whose s3prl/ is imported here, such as "espnet-s3prl 2026.5.14"; "" where there is none."""
    spec = importlib.util.find_spec("s3prl")
    names = []
    for name in ("s3prl", "espnet-s3prl"):
        with contextlib.suppress(PackageNotFoundError):
            found = metadata.distribution(name)
            if spec and Path(found.locate_file("s3prl/__init__.py")) == Path(spec.origin):
                names.append(f"{name} {found.version}")
    return " under ".join(names)  # both in one folder: the one that was installed last


def s3prl_module(name):
    """A module of s3prl; the test is skipped, saying so, where nobody brings one."""
    if not distribution():
        pytest.skip("neither s3prl nor espnet-s3prl is installed: pip install s3prl")
    s3prl_shim()
    return importlib.import_module(f"s3prl.{name}")


def s3prl(module):
    return s3prl_module(f"downstream.{module}")


def s3prl_function(module, name, **names):
    """One function out of a file that cannot be imported whole (the experts
    want librosa and h5py).
    """
    s3prl_module("downstream")
    folder, _, file = module.partition(".")
    path = Path(importlib.util.find_spec(f"s3prl.downstream.{folder}").origin).parent / f"{file}.py"
    tree = ast.parse(path.read_text())
    body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    space = dict(names)
    exec(compile(ast.Module(body, []), str(path), "exec"), space)
    return space[name]


def twins(module, protocol, dim, bins, **settings):
    """s3prl's network with its recipe, and ours carrying its weights."""
    theirs = (
        s3prl(module)
        .SepRNN(
            dim,
            bins,
            num_spks=settings.get("sources", 1),
            num_layers=protocol.layers,
            hidden_size=protocol.hidden,
            dropout=protocol.dropout,
            non_linear=protocol.activation,
        )
        .eval()
    )
    ours = MaskBLSTM(
        dim,
        bins,
        protocol.hidden,
        protocol.layers,
        protocol.dropout,
        protocol.activation,
        **settings,
    ).eval()
    ours.load_state_dict(
        {
            name.replace("rnn.", "lstm.").replace("linear.", "to_mask."): value
            for name, value in theirs.state_dict().items()
        }
    )
    return theirs, ours


def stft_by_definition(x, n_fft, win, hop, pad):
    """(N,) -> (T, bins): pad, cut, window, transform, one frame at a time."""
    from scipy.signal import get_window

    window = np.zeros(n_fft)
    window[(n_fft - win) // 2 : (n_fft - win) // 2 + win] = get_window("hann", win)
    padded = np.pad(x.astype(np.float64), n_fft // 2, mode=pad)
    return np.stack(
        [np.fft.rfft(window * padded[t : t + n_fft]) for t in range(0, len(x) + 1, hop)]
    )


def istft_by_definition(spectrum, n_fft, win, hop, samples):
    """(T, bins) -> (samples,): weighted overlap-add over the sum of squared windows, cut or filled
    at the end (librosa).
    """
    from scipy.signal import get_window

    window = np.zeros(n_fft)
    window[(n_fft - win) // 2 : (n_fft - win) // 2 + win] = get_window("hann", win)
    total, weight = np.zeros((2, n_fft + hop * (len(spectrum) - 1)))
    for t, row in enumerate(spectrum):
        total[t * hop : t * hop + n_fft] += window * np.fft.irfft(row)
        weight[t * hop : t * hop + n_fft] += window**2
    heard = np.where(weight > 1e-38, total / np.maximum(weight, 1e-38), total)[n_fft // 2 :]
    return np.pad(heard, (0, max(0, samples - len(heard))))[:samples]
