"""Whole runs of models of other libraries: static rows, all at the cost of the whole model."""

from dataclasses import replace

import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.conformance import check_upstream
from earlyexit_superb.benchmark.contract import Upstream
from earlyexit_superb.benchmark.engine.promises import check_built
from earlyexit_superb.benchmark.errors import UsageError
from earlyexit_superb.benchmark.registry import build_upstream, upstreams
from helpers import STEPS, command, jsons
from helpers.external import expert
from toys.toy import Toy


def test_a_spectrum_of_s3prl_has_a_table(small_builtins, tmp_path, capsys):
    flags = ["--upstream", "s3prl:fbank", "--task", "sid", "--results", str(tmp_path), *STEPS]
    assert main(flags) == 0
    table = capsys.readouterr().out
    assert [line.split()[:2] for line in table.splitlines()[1:3]] == [["s3prl:fbank", "full"]] * 2
    assert "depth 0" not in table  # it would be the row of full depth again
    rows = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    assert main(flags) == 0 and capsys.readouterr().out == table
    assert rows == {path: path.read_bytes() for path in tmp_path.rglob("*.json")}


def test_every_row_of_an_expert_costs_the_whole_model(corpus, own_cache, tmp_path, capsys):
    spec = f"s3prl:{expert(tmp_path / 'my, own')}"
    flags = command(corpus, tmp_path / "rows")
    flags[1] = spec
    assert main(flags) == 0
    rows = [r for r in jsons(tmp_path / "rows").values() if r["cell"]["seed"] is not None]
    assert {r["cell"]["exit"] for r in rows} == {"full", "depth 0", "depth 1"}
    assert {r["cell"]["upstream"] for r in rows} == {"s3prl:my-own-expert"}
    assert len({r["cost"]["gmacs_per_s"] for r in rows}) == 1
    assert {r["cost"]["macs_saved"] for r in rows} == {0}
    parameters = sum(p.numel() for p in build_upstream(spec).net.parameters()) / 1e6
    assert {r["cost"]["params_m"] for r in rows} == {parameters}
    capsys.readouterr()
    assert main([*flags, "--rho", "0.7"]) == 2
    assert "does not exit by itself" in capsys.readouterr().err


def test_a_package_adds_a_source_by_entry_point(monkeypatch):
    from earlyexit_superb.benchmark import registry

    class Entry:
        name, module = "mine:", "a_package.with_it"

    monkeypatch.setattr(registry, "entry_points", lambda group: [Entry])
    monkeypatch.setitem(upstreams._found, "mine:", Given)
    assert build_upstream("mine:a/b.c").model == "a/b.c"


class Given(Upstream):
    def __init__(self, model: str = ""):
        super().__init__()
        self.model = model


def test_check_knows_the_sources(capsys):
    assert main(["check", "s3prl:fbank"]) == 0
    assert "all depths are computed for the first one" in capsys.readouterr().out


def test_a_card_that_says_otherwise_is_found_out():
    spectrum, toy = build_upstream("s3prl:fbank"), Toy().eval()
    check_built(spectrum)
    spectrum.card = replace(spectrum.card, stepped=True)
    with pytest.raises(UsageError, match="depth 0, not a whole number from 1"):
        check_built(spectrum)
    toy.card = replace(toy.card, stepped=False)
    with pytest.raises(UsageError, match="differs between depths"):
        check_built(toy)
    said = " | ".join(f.sentence for f in check_upstream(toy) if not f.ok)
    assert "it exits, so its card may not say" in said and "for the first one" in said
    assert "the same at every depth" in said


def test_a_source_is_a_file_of_its_own_room(tmp_path, monkeypatch):
    from earlyexit_superb import upstreams as room

    (tmp_path / "external").mkdir()
    (tmp_path / "external" / "another.py").write_text("")
    monkeypatch.setattr(room, "__path__", [*room.__path__, str(tmp_path)])
    assert {"another:", "hf:", "s3prl:", "torchaudio:"} <= set(upstreams.sources())
    assert not {"external", "another"} & set(upstreams.names())
    # a dot or a colon of the rest belongs to the rest
    assert upstreams.split("another:a.b/c:d.py") == ("another:", {"model": "a.b/c:d.py"})
    assert upstreams.split("daisy.tiny") == ("daisy", {"tag": "tiny"})
    assert upstreams.split("a/b.c/d.py:E") == ("a/b.c/d.py:E", {})
    with pytest.raises(UsageError, match="names nothing after the colon"):
        upstreams.split("another:")
