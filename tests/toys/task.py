"""The smallest task: which verb a sentence has, on the built-in corpus of recognition."""

from dataclasses import replace

import torch
from earlyexit_superb.benchmark.audio import read
from earlyexit_superb.benchmark.contract import Example, Metric, Protocol, Task
from earlyexit_superb.downstreams.mean_linear import MeanLinear
from earlyexit_superb.tasks.corpora import Need, open_corpus
from earlyexit_superb.tasks.corpora.mini.asr import BUILTIN
from torch.nn.functional import cross_entropy

WORDS = ("BRING", "FIND", "PAINT", "none")
MINI = Protocol("mini", "tests/toys/task.py", lr=1e-2, steps=40, batch=8, eval_every=20)


def corpus(data, protocol):
    return replace(open_corpus(data, Need(("text",), "keywords"), BUILTIN), labels=WORDS)


def target(item):
    return next((word for word in WORDS if word in item.more["text"].split()), "none")


def load(item):
    wav = torch.from_numpy(read(item.path, item.start, item.samples))
    return Example(item.id, wav, target(item))


def head(setup):
    return MeanLinear(setup.dim, len(setup.corpus.labels))


def loss(prediction, examples, frames, setup):
    labels = torch.tensor([WORDS.index(e.target) for e in examples], device=prediction.device)
    return cross_entropy(prediction, labels)


def score(row, example, frames, setup):
    return judge(WORDS[int(row.argmax())], example, setup.protocol)


def judge(answer, example, protocol):
    return {"accuracy": 100.0 * (answer == example.target), "heard": answer}


METRICS = (Metric("accuracy", True, "%", best=100.0),)
SAID = {"version": 1, "protocols": {"mini": MINI}, "builtin": "mini", "default": "mini"}
PARTS = {"corpus": corpus, "load": load, "head": head, "loss": loss, "score": score, "judge": judge}
MORE = {"needs": ("text",), "mini": BUILTIN, "pooled": True, "target": target}
KEYWORDS = Task("keywords", metrics=METRICS, **SAID, **PARTS, **MORE)
