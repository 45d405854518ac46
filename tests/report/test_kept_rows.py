"""Rows that a run finds: of this version, of older and newer ones, and what it makes again."""

import errno
import json

import pytest
from earlyexit_superb.benchmark.errors import MachineError
from earlyexit_superb.benchmark.migration import SCHEMA, NewerSchema
from earlyexit_superb.benchmark.report import schema
from earlyexit_superb.benchmark.report.folder import kept as still_there
from earlyexit_superb.benchmark.report.folder import load_all
from earlyexit_superb.benchmark.report.result import Result
from helpers import ROOT
from helpers.damage import failing
from helpers.rows import edited, first, put

OLD = ROOT / "tests" / "golden" / "result_schema1.json"


def test_a_row_that_a_run_cannot_believe_is_set_aside_to_be_made_again(folder, capsys):
    path = first(folder)
    cell = Result.load(path).cell
    assert still_there(path, cell) and capsys.readouterr().err == ""
    was = path.read_bytes()
    path.write_bytes(was[:100])
    assert not still_there(path, cell) and not path.exists()
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith(f"notice: {path} is not a result of this benchmark (")
    assert said.endswith(f"); set aside as {path.name}.damaged and made again")
    assert path.with_name(f"{path.name}.damaged").read_bytes() == was[:100]


def test_why_a_row_is_set_aside_is_said_whole(folder, capsys):
    """Though there are several reasons, and what is wrong may be its table."""
    path = first(folder)
    cell, was = Result.load(path).cell, path.read_bytes()
    edited(path, lambda raw: raw["cost"].update(rtfx="5; 6", params_m="x"))
    assert not still_there(path, cell)
    [said] = capsys.readouterr().err.splitlines()
    assert said.count("(") == said.count(")") and "rtfx" in said and "params_m" in said
    path.write_bytes(was)
    table = path.with_suffix(".utterances.csv")
    table.unlink()
    assert not still_there(path, cell)
    said = capsys.readouterr().err
    assert f"{path} cannot be believed: {table.name} is missing" in said


def sealed_anew(path, change):
    """The row as another version would have written it: changed, with the digest of that."""
    raw = json.loads(path.read_text())
    seals = raw["detail"].pop("digests")
    change(raw)
    raw["detail"]["digests"] = seals | {"row": schema.digest(raw)}
    path.write_text(json.dumps(raw))


NEWER = {
    "a cost": put("cost", "energy_j", value=3.0),
    "a field of a metric": lambda raw: raw["detail"]["metrics"][0].update(scale="log"),
    "a field of its own": put("weather", value="fine"),
    "a schema": put("schema", value=SCHEMA + 1),
}


@pytest.mark.parametrize("change", NEWER.values(), ids=NEWER)
def test_a_row_of_a_newer_version_is_left_alone(change, folder, capsys):
    """No board of this version has it, and no run makes it again unasked."""
    path = first(folder)
    cell = Result.load(path).cell
    sealed_anew(path, change)
    was = path.read_bytes()
    with pytest.raises(NewerSchema, match="update the program"):
        still_there(path, cell)
    assert [row.cell.exit for row in load_all(folder)] == ["full"]
    assert "update the program" in capsys.readouterr().err and path.read_bytes() == was
    text = path.read_text().replace("abc", "abd")  # damage is damage
    path.write_text(text.replace(f'"schema": {SCHEMA + 1}', f'"schema": {SCHEMA}'))
    assert not still_there(path, cell)


def test_a_row_of_schema_2_is_read_as_it_is(folder):
    path = first(folder)
    now = Result.load(path)
    sealed_anew(path, put("schema", value=2))
    was = Result.load(path)
    assert (was, was.schema) == (now, SCHEMA) and len(load_all(folder)) == 2


@pytest.mark.parametrize("ending", [".json", ".utterances.csv"])
def test_a_row_that_cannot_be_read_now_is_not_made_again(folder, ending, monkeypatch):
    path = first(folder)
    cell = Result.load(path).cell
    with monkeypatch.context() as patch:
        failing(patch, path.with_suffix(ending), OSError(errno.ESTALE, "Stale file handle"))
        with pytest.raises(MachineError, match="Stale file handle.*may be whole"):
            still_there(path, cell)
    assert still_there(path, cell)


def test_a_file_of_schema_1_is_read_with_its_table():
    assert Result.load(OLD).utterances is not None
