"""The smallest task: which verb a sentence has, on the built-in corpus of recognition."""

import torch
from earlyexit_superb.benchmark.audio import example_of
from earlyexit_superb.benchmark.contract import Metric, Protocol, Task
from earlyexit_superb.downstreams.mean_linear import MeanLinear
from earlyexit_superb.tasks.corpora import Need, open_corpus
from earlyexit_superb.tasks.corpora.mini.asr import BUILTIN

WORDS = ("BRING", "FIND", "PAINT", "none")


def target(item):
    return next((word for word in WORDS if word in item.more["text"].split()), "none")


def loss(prediction, examples, frames, setup):
    classes = torch.tensor([WORDS.index(e.target) for e in examples], device=prediction.device)
    return torch.nn.functional.cross_entropy(prediction, classes)


def judge(answer, example, protocol):
    return {"accuracy": 100.0 * (answer == example.target), "heard": answer}


KEYWORDS = Task(
    name="keywords",
    metrics=(Metric("accuracy", True, "%", best=100.0),),
    protocols={"mini": Protocol("mini", "this file", lr=1e-2, steps=40, batch=8, eval_every=20)},
    corpus=lambda data, protocol: open_corpus(data, Need(("text",), "keywords"), BUILTIN),
    load=lambda item: example_of(item, target(item)),
    head=lambda setup: MeanLinear(setup.dim, len(WORDS)),
    loss=loss,
    score=lambda row, example, n, setup: judge(WORDS[int(row.argmax())], example, setup.protocol),
    judge=judge,
    pooled=True,
    target=target,
    needs=("text",),
    mini=BUILTIN,
)
