"""Every registered upstream passes the checks, and the checks find what they are for."""

import pytest
import torch
from earlyexit_superb.benchmark.conformance import check_upstream
from earlyexit_superb.benchmark.contract import Wrapper
from earlyexit_superb.benchmark.registry import Registry, build_upstream, upstreams
from toys.toy import Toy


@pytest.mark.parametrize("name", upstreams.names())
def test_every_registered_upstream_meets_the_contract(name):
    failed = [f.sentence for f in check_upstream(build_upstream(name)) if not f.ok]
    assert not failed


def complaints(upstream):
    return " | ".join(f.sentence for f in check_upstream(upstream.eval()) if not f.ok)


def test_the_toy_passes():
    assert complaints(Toy()) == ""


def test_a_depth_that_drowns_the_others_is_a_warning():
    assert not [f for f in check_upstream(Toy().eval()) if f.warning]
    daisy = build_upstream("daisy")
    assert not [f for f in check_upstream(daisy) if f.warning]
    [projection] = [m for name, m in daisy.named_modules() if name.endswith(".projection")]
    with torch.no_grad():  # state 0 becomes a hundred times as long as the others
        projection.weight *= 100
    [said] = [f.sentence for f in check_upstream(daisy) if f.warning]
    assert said.startswith("depth 0 has 99.") and "drowns" in said


class Hears(Toy):  # normalises over the padded batch
    def states(self, wavs, lengths):
        return super().states(wavs / wavs.std(1, keepdim=True), lengths)


class Eager(Toy):  # computes everything before it yields anything
    def states(self, wavs, lengths):
        done, walk = [], super().states(wavs, lengths)
        done = list(walk)
        keep = None
        for state in done:
            keep = yield state if keep is None else state[keep]


class Dropped(Toy):
    def states(self, wavs, lengths):
        for state in super().states(wavs, lengths):
            yield torch.nn.functional.dropout(state, 0.1, True)


class Crowd(Toy):  # decides for the batch, as DAISY's published code does
    def evidence(self, depth, state, previous, frames):
        own = super().evidence(depth, state, previous, frames)
        return own.mean().expand_as(own)


class Boastful(Toy):
    def __init__(self):
        super().__init__()
        from dataclasses import replace

        self.card = replace(self.card, depth=4, dim=17, stride=160)


class Nan(Toy):
    def states(self, wavs, lengths):
        for state in super().states(wavs, lengths):
            yield state / state.abs().sum() * 0 / (wavs.abs().sum() > 0)


class Lost(Wrapper):  # exits, and does not say what it is without them
    def __init__(self):
        super().__init__(build_upstream("daisy.tiny", {"weights": "random"}))


class Mistaken(Toy):  # names another model as its backbone
    @property
    def backbone(self):
        return Toy(stride=640)


@pytest.mark.parametrize(
    "broken, said",
    [
        (Hears, "padded batch has the same states"),
        (Eager, "not asked for are not computed"),
        (Dropped, "same states twice"),
        (Crowd, "does not depend on the batch"),
        (Boastful, "stride of 160"),
        (Nan, "silence are finite"),
        (Lost, "does not say how it wraps another"),
        (Mistaken, "gives the same states"),
    ],
)
def test_each_check_finds_its_defect(broken, said):
    assert said in complaints(broken())


def test_one_broken_plug_in_never_hides_the_others(tmp_path, monkeypatch):
    import earlyexit_superb.upstreams as room

    (tmp_path / "rotten.py").write_text("import a_package_nobody_has\n")
    monkeypatch.setattr(room, "__path__", [*room.__path__, str(tmp_path)])
    registry = Registry("upstreams")
    assert {"rotten", "hubert", "daisy"} <= set(registry.names())
    assert "a_package_nobody_has" in registry.probe("rotten")
    registry._found.update(upstreams._found)
    assert registry.probe("hubert") == "" or upstreams.probe("hubert") == ""


def test_a_name_registered_twice_is_an_error():
    registry = Registry("upstreams")
    registry.register("a")(Toy)
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("a")(Eager)
