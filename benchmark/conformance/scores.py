"""What a task's scores must do."""

from ..errors import listed
from .case import STRIDES, Case
from .finding import Findings
from .values import at_least, complete, exceptions, formatted, is_best, plain, same


def scores(case: Case) -> Findings:
    repeated = {}
    for one in case.scored:
        values = formatted(case.task, one.scores)
        said = f"{one.example.id} gets every metric, a finite number, a ratio or a failure"
        yield complete(case.task, one.scores), f"{said} ({values})"
        again = case.score(one.prediction, one.example, one.frames)
        names = [metric.name for metric in case.task.metrics]
        agree = [same(again.get(name), one.scores.get(name), exactly=True) for name in names]
        repeated[one.example.id] = all(agree)
    but = exceptions(repeated)
    yield all(repeated.values()), f"scored twice an utterance gets the same{but}"


def selects(case: Case) -> Findings:
    select = case.task.select
    if not select:
        return
    name = case.task.metrics[0].name
    agree = {}
    for one in case.scored:
        value = select(one.prediction, one.example, one.frames, case.setup()).get(name)
        agree[one.example.id] = same(value, one.scores.get(name), exactly=True)
    yield all(agree.values()), f"select gives the {name} that score gives{exceptions(agree)}"


def judges(case: Case) -> Findings:
    task = case.task
    floors = {"an untrained head": {one.example.id: one.scores for one in case.scored}}
    if case.floors:
        floors["doing nothing"] = dict(case.floors)
    judged = {}
    for example in case.examples:
        truth = task.truth(example) if task.truth else example.target
        judged[example.id] = task.judge(truth, example, case.protocol)
    for metric in task.metrics:
        values = {name: scores.get(metric.name) for name, scores in judged.items()}
        shown = ", ".join(map(plain, values.values()))
        if metric.best is not None:
            best = [is_best(value, metric.best) for value in values.values()]
            said = f"the truth has the best {metric.name} there is, {metric.best:g}"
            yield all(best), f"{said} ({shown})"
            continue
        for what, floor in floors.items():
            better = {}
            for name, value in values.items():
                better[name] = at_least(value, floor[name].get(metric.name), metric)
            said = f"the truth has no worse {metric.name} than {what}"
            yield all(better.values()), f"{said} ({shown}){exceptions(better)}"


def starts_from_a_floor(case: Case) -> Findings:
    if case.floors:
        whole = {name: complete(case.task, floor) for name, floor in case.floors.items()}
        yield all(whole.values()), f"doing nothing gets every metric{exceptions(whole)}"


def notes(case: Case) -> Findings:
    notices = case.task.notices
    if not notices:
        return
    for stride in STRIDES:
        sentences = list(notices(case.setup(stride)))
        sound = all(isinstance(sentence, str) and sentence for sentence in sentences)
        yield sound, f"of a stride of {stride} it notes: {listed(sentences) or 'nothing'}"


CHECKS = (scores, selects, judges, starts_from_a_floor, notes)
