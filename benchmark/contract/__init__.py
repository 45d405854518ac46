"""What plug-ins promise each other and the machine; every name that their authors need."""

from .corpus import SAMPLE_RATE, Builtin, Corpus, Example, Item
from .task import FIELDS, Metric, Protocol, Setup, Task
from .training import Recipe, Training, TrainingData, TrainingRun, Use, setting
from .upstream import Upstream, UpstreamCard
from .wrapper import ExitRule, WaveformTransform, Wrapper

__all__ = [
    "FIELDS",
    "SAMPLE_RATE",
    "Builtin",
    "Corpus",
    "Example",
    "ExitRule",
    "Item",
    "Metric",
    "Protocol",
    "Recipe",
    "Setup",
    "Task",
    "Training",
    "TrainingData",
    "TrainingRun",
    "Upstream",
    "UpstreamCard",
    "Use",
    "WaveformTransform",
    "Wrapper",
    "setting",
]
