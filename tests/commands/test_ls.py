"""`ls`: a line for each upstream, from its class and its card, whatever cannot be built here."""

import json

import pytest
from earlyexit_superb.benchmark.cli import main
from earlyexit_superb.benchmark.registry import upstreams
from toys import systems


class Broken(systems.Toy):
    def __init__(self):
        raise RuntimeError("no such luck")


@pytest.fixture
def room(monkeypatch):
    """A registry with toys alone."""
    found = {**systems.ALL, "broken": Broken}
    monkeypatch.setattr(upstreams, "_found", found)
    monkeypatch.setattr(upstreams, "names", lambda: sorted(found))


def test_a_line_says_what_an_upstream_is(room, capsys):
    assert main(["ls", "upstreams"]) == 0
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}
    assert set(lines) == {*systems.ALL, "broken"}
    for name, said in (
        ("adaptive", ("frozen", "stepped", "exits by rho", "weights: here", "tests/toys/toy.py")),
        ("small", ("distilled", "frozen", "all depths", "fixed exits", "weights: here")),
        ("tuned", ("tuned on its corpus", "stepped", "fixed exits")),
        ("random", ("weights: random", "exits by rho")),
        ("elsewhere", ("weights: absent", "exits by rho")),  # the card is its stand-in's
        ("broken", ("unavailable: RuntimeError: no such luck",)),
    ):
        assert all(word in lines[name] for word in said), lines[name]


def test_the_same_as_json(room, capsys):
    assert main(["ls", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    of = {line["name"]: line for line in lines if line["what"] == "upstream"}
    assert of["small"]["kind"] == "distilled" and of["small"]["stepped"] is False
    assert of["adaptive"]["knob"] == "rho" and of["tuned"]["tuned_on"] == "its corpus"
    assert of["elsewhere"]["weights"] == "absent" and of["broken"]["unavailable"]
    assert {line["what"] for line in lines} == {"upstream", "task", "corpus"}


def test_every_upstream_of_the_room_has_a_paper(capsys):
    assert main(["ls", "upstreams", "--json"]) == 0
    for line in map(json.loads, capsys.readouterr().out.splitlines()):
        assert line["unavailable"] or line["source"], line["name"]
