"""Runs of a table side by side: what is shared out, and that no number depends on it."""

from dataclasses import replace

import pytest
import torch
from earlyexit_superb.benchmark.engine import ahead, several, workers
from earlyexit_superb.benchmark.engine.controls import scores_needed
from earlyexit_superb.benchmark.engine.experiment import RunConfig
from earlyexit_superb.benchmark.engine.resolve import resolve
from earlyexit_superb.benchmark.engine.several import Part, made
from helpers import TOY, numbers


def parts(corpus, results, *seeds):
    settings = {"steps": "2", "eval_every": "2", "batch": "3", "hidden": "8", "layers": "1"}
    about = {"data": corpus, "protocol": "mini", "results": results, "settings": settings}
    about |= {"upstream": TOY, "task": "se", "knobs": {"rho": (1.0,)}, "span": ("mean",)}
    return [Part(f"se, seed {seed}", RunConfig(seed=seed, **about)) for seed in seeds]


class Here:
    """A worker in this very process: what it is asked is done when its answer is wanted."""

    def __init__(self, *_):
        self.line, self.asked, self.jobs = self, (), []

    def ask(self, what, *arguments):
        self.asked = what, arguments
        self.jobs.append(arguments[0].seed)

    def answer(self):
        what, arguments = self.asked
        return what(None, *arguments)

    def close(self):
        pass

    def end(self, until):
        pass


def side_by_side(monkeypatch, worker=Here):
    """Two workers, of that kind; those that were started."""
    started = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(ahead, "worth", lambda exp, rows: True)
    monkeypatch.setattr(workers, "wait", lambda lines, seconds: lines[:1])
    monkeypatch.setattr(workers, "Worker", lambda *a: started.append(worker(*a)) or started[-1])
    return started


@pytest.mark.slow
def test_rows_are_those_of_runs_one_after_the_other(
    corpus, tmp_path, own_cache, monkeypatch, capsys
):
    made(parts(corpus, tmp_path / "alone", 0, 1), "test")
    started = side_by_side(monkeypatch)
    monkeypatch.setenv("EARLYEXIT_SUPERB_CACHE", str(tmp_path / "another"))
    trained = []
    monkeypatch.setattr(several, "results", _seen(several.results, trained))
    results, refused = made(parts(corpus, tmp_path / "beside", 0, 1), "test")
    assert not refused and {r.cell.seed for r in results} == {None, 0, 1}
    assert sorted(seed for one in started for seed in one.jobs) == [0, 1]
    assert min(trained) > 0  # heads were there before the first run made its rows
    assert numbers(tmp_path / "alone") == numbers(tmp_path / "beside") != {}
    assert "test: recording and training" in capsys.readouterr().err


def _seen(results, trained):
    def seen(exp, *arguments):
        trained.append(len(list((exp.config.results / "heads").glob("*.safetensors"))))
        return results(exp, *arguments)

    return seen


def test_a_dead_worker_gets_nothing_more_and_nobody_waits_for_it(monkeypatch):
    class Dead(Here):
        def answer(self):
            return None

    started = side_by_side(monkeypatch, Dead)
    config = RunConfig(upstream=TOY, task="se")
    jobs = [ahead.Job(f"seed {n}", replace(config, seed=n), [1]) for n in range(3)]
    ahead.prepared(jobs, 3, "test")
    assert [one.jobs for one in started] == [[1], [0]]  # the third has nobody to go to


def test_a_fault_is_told_by_the_run_that_has_it(corpus, tmp_path, own_cache, monkeypatch):
    from earlyexit_superb.benchmark.errors import UsageError

    def refuses(*_):
        raise UsageError("no")

    monkeypatch.setattr(ahead, "again", refuses)
    assert ahead._prepare(None, parts(corpus, tmp_path, 0)[0].config, [1]) is True


def test_nobody_is_started_for_one_run_or_little_work(corpus, tmp_path, monkeypatch):
    asked = parts(corpus, tmp_path, 0, 1)
    assert not list(several.jobs(asked, {}))  # of a dozen updates each
    started = side_by_side(monkeypatch)
    known = {}
    [first, second] = several.jobs(asked, known)
    assert sorted(known) == [1, 2] and first.rows == second.rows
    assert "unprocessed" not in {known[1].rows[n].cell.exit for n in first.rows}
    ahead.prepared([first], 2, "test")
    assert not started
    forced = [Part("forced", replace(asked[0].config, force=True))]
    assert not list(several.jobs(forced, {}))  # its heads are forgotten first


def test_work_is_worth_a_process_by_its_updates_or_its_audio(corpus, tmp_path, monkeypatch):
    exp = resolve(parts(corpus, tmp_path, 0)[0].config)
    assert ahead.one_core(exp) and not ahead.worth(exp, 6)
    monkeypatch.setattr(ahead, "AUDIO", 1)
    assert ahead.worth(exp, 1)
    monkeypatch.setattr(ahead, "AUDIO", 1e6)
    monkeypatch.setattr(ahead, "UPDATES", 4)
    assert ahead.worth(exp, 2) and not ahead.worth(exp, 1)


@pytest.mark.parametrize(
    ("worth", "random", "count"), [(10, False, 0), (9, True, 1), (16, True, 0)]
)
def test_slow_scores_are_worth_workers(worth, random, count, corpus, tmp_path, monkeypatch):
    """Of five utterances, in a row of their own or at each of three depths."""
    [part] = parts(corpus, tmp_path, 0)
    settings = {**part.config.settings, "exits": "random"}
    exp = resolve(replace(part.config, settings=settings))
    rows = [row for row in exp.rows if (row.cell.exit == "random") is random][:1]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(workers, "WORTH", worth)
    assert workers.worker_count(exp, 0, scores_needed(rows, 3)) == count
