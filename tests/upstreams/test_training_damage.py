"""Units and convolutions that a training of HuBERT keeps, damaged before it goes on."""

from helpers import damage, fit

DAMAGED = {
    "heard/clean.npy": damage.zeroed,
    "mfcc/units.npz": damage.truncated,
    "block/units.npz": damage.zeroed,
    "block/last.ckpt": damage.zeroed,
}


def test_what_is_damaged_is_made_again(speech, tmp_path, capsys):
    weights = fit(speech, tmp_path)
    undisturbed = weights.read_bytes()
    weights.unlink()
    for name, how in DAMAGED.items():
        how(tmp_path / "hubert.small" / name)
    assert fit(speech, tmp_path).read_bytes() == undisturbed
    said = [x for x in capsys.readouterr().err.splitlines() if x.startswith("notice: ")]
    for named in ("heard is damaged", "mfcc/units.npz", "block/units.npz", "block/last.ckpt"):
        assert sum(named in sentence for sentence in said) == 1, named
