"""HuBERT-EE's tables 1 to 3 and figures 2 to 4 (Yoon, Woo and Kim, 2024, arXiv:2204.06328).

Mean exits are not printed there: those that thresholds of one's own aim at are chosen here, rising
as the printed speed falls, the same for both criteria.
"""

from .shape import PUBLISHED, SMALL, Figure, Line, Model, Paper, Table, Training

MODEL = Model("hubert_ee", first=5, small_first=5)
# two blocks a branch at published size, as large as the paper says
SIZED = {PUBLISHED: {"branch": "paper"}}
JOINT = Training("joint", MODEL, recipe={"strategy": "joint"}, sized=SIZED)
TWO_STAGE = Training("two_stage", MODEL, recipe={"strategy": "two_stage"}, sized=SIZED)
FIRST_EIGHT = Training("first-8-blocks", MODEL, single=8)
EXITS = (5, 8, 11, 12)
JOINTLY, IN_STAGES = "Joint Training", "Two-stage Training"
BACKBONE = "HuBERT-base (backbone)"
OWN = "HuBERT-EE"

STUDENT = Training(
    "distilled-8-blocks",
    Model("distilhubert", tag="base8", small_tag="tiny8"),
    teacher=Model("hubert"),
)
DISTILLED = Training(
    "distilhubert-8l",
    MODEL,
    single=8,
    sized={
        SMALL: {"backbone": "distilhubert.tiny8"},
        PUBLISHED: {"backbone": "distilhubert.base8"},
    },
    start=STUDENT,
)
DROPPED = {
    rate: Training(f"layerdrop-{rate}", MODEL, recipe={"layerdrop": rate}, single=12)
    for rate in ("0.1", "0.3")
}


def backbone(group: str = "") -> Line:
    """The first stage of two is the fine-tuning of the plain model, whose numbers table 2 repeats
    for it."""
    return Line(BACKBONE, group, TWO_STAGE)


def distilled(group: str = "") -> Line:
    return Line("DistilHuBERT-8L", group, DISTILLED)


def dropped() -> tuple[Line, ...]:
    """Tuned with blocks left out at a rate, and pruned at it."""
    return tuple(
        Line(f"p={rate}", "LayerDrop", training, options={"prune": rate})
        for rate, training in DROPPED.items()
    )


def entropy(threshold: float, aim: float, label: str = "S={}", digits: int = 0) -> Line:
    text = label.format(f"{threshold:.{digits}f}" if digits else f"{threshold:g}")
    return Line(text, OWN, JOINT, threshold=threshold, aim=aim)


def confidence(threshold: float, aim: float) -> Line:
    label = f"Confidence Thres.={threshold:.3f}"
    return Line(label, OWN, JOINT, criterion="confidence", threshold=threshold, aim=aim)


def swept(group: str, training: Training, thresholds: tuple[float, ...]) -> tuple[Line, ...]:
    """Thresholds in steps, and for those of one's own mean exits in steps."""
    first, count = MODEL.first + 0.5, len(thresholds)
    aims = [round(first + (11.5 - first) * i / (count - 1), 2) for i in range(count)]
    return tuple(
        Line(f"S={s:g}", group, training, threshold=s, aim=aim)
        for s, aim in zip(thresholds, aims, strict=True)
    )


def fixed(group: str, training: Training, control: bool = True) -> tuple[Line, ...]:
    return tuple(Line(str(k), group, training, block=k, control=control) for k in EXITS)


CRITERIA = Table(
    title="WER on test-clean at thresholds of entropy and of confidence",
    heading="Threshold",
    measures=("wer", "cer", "depth", "gmacs_per_s", "rtf", "params_m"),
    lines=(
        backbone(),
        *(
            entropy(s, aim, "Entropy Thres.={}", 4)
            for s, aim in ((0.0040, 6.5), (0.0035, 7.5), (0.0025, 9.5))
        ),
        *(confidence(c, aim) for c, aim in ((0.950, 6.5), (0.955, 7.5), (0.960, 9.5))),
    ),
    notes=("RTF there: an NVIDIA Quadro RTX 8000, batch 1, mean of three runs.",),
)

STRATEGIES = Table(
    title="WER on test-clean at each exit, by fine-tuning strategy",
    heading="Exit Layer",
    measures=("wer", "cer", "gmacs_per_s"),
    lines=tuple(
        Line(str(k), "", training, arm=arm, block=k)
        for k in EXITS
        for arm, training in ((JOINTLY, JOINT), (IN_STAGES, TWO_STAGE))
    ),
    arms=(JOINTLY, IN_STAGES),
    minus=(JOINTLY, IN_STAGES),
)

STUDENT_LINE = distilled()
DROPPED_LINES = dropped()
FIRST_BLOCKS = Line("first 8 blocks, tuned", "Controls", FIRST_EIGHT, control=True)

METHODS = Table(
    title="HuBERT-EE beside other smaller models, on test-other",
    heading="Method",
    measures=("wer", "cer", "depth", "gmacs_per_s", "rtf", "speed_hz", "params_m"),
    lines=(
        backbone(),
        STUDENT_LINE,
        *DROPPED_LINES,
        *(entropy(s, aim) for s, aim in ((0.0055, 6.0), (0.005, 6.5), (0.003, 8.5))),
        FIRST_BLOCKS,
        *fixed("Controls: HuBERT-EE at fixed exits", JOINT),
    ),
    pairs=tuple(
        ("minus the first 8 blocks, which are as many", line, FIRST_BLOCKS)
        for line in (STUDENT_LINE, DROPPED_LINES[-1])
    ),
    notes=(
        "There: test-other. Here: the test split of the corpus; of LibriSpeech that is test-clean, "
        "and a list of one's own may name test-other (run_benchmark.py data prepare --help).",
        "DistilHuBERT-8L: its student has 8 blocks and is distilled first, from the same model and "
        "the same speech without its transcripts.",
        "LayerDrop: how it was pruned is not said; here by Fan et al.'s every-other rule at the "
        "rate it was tuned with, so 1 and 4 of 12 blocks are left out, about what its RTF says.",
        "Speed there is 1 / (RTF x 6.54 s), so it says what RTF says.",
    ),
)

TRAININGS = Figure(
    title="WER on test-clean against RTF, entropy thresholds from 0.008 to 0.002",
    kind="paper_cost",
    lines=(
        *swept(JOINTLY, JOINT, (0.008, 0.007, 0.006, 0.005, 0.004, 0.003, 0.002)),
        *swept(IN_STAGES, TWO_STAGE, (0.008, 0.007, 0.006, 0.005, 0.004, 0.003, 0.002)),
        *fixed(f"{JOINTLY}, fixed exits", JOINT),
        *fixed(f"{IN_STAGES}, fixed exits", TWO_STAGE),
    ),
)

COMPARED = Figure(
    title="HuBERT-EE beside other smaller models, entropy thresholds from 0.005 to 0.002",
    kind="paper_cost",
    lines=(
        *swept(OWN, JOINT, (0.005, 0.0045, 0.004, 0.0035, 0.003, 0.0025, 0.002)),
        backbone(BACKBONE),
        distilled("DistilHuBERT-8L"),
        *dropped(),
        Line("8", "first 8 blocks, tuned", FIRST_EIGHT, control=True),
        *fixed(f"{OWN}, fixed exits", JOINT),
    ),
)

SHARES = Figure(
    title="Share of test utterances that leave at each exit, by entropy threshold",
    kind="paper_shares",
    lines=tuple(entropy(s, aim) for s, aim in ((0.007, 5.2), (0.005, 6.5), (0.003, 8.5))),
)

PAPER = Paper(
    "hubert-ee",
    "HuBERT-EE (Yoon, Woo and Kim, 2024, arXiv:2204.06328)",
    {"1": CRITERIA, "2": STRATEGIES, "3": METHODS},
    {"2": TRAININGS, "3": COMPARED, "4": SHARES},
)
