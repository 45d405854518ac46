"""The poster table of Zaiem et al., 2023 (arXiv:2303.06740): exits by entropy, by similarity, and
by similarity in two steps, beside fewer blocks and a shortened input.

The baseline has one exit, at its end, and the recipe of the first step of two. Numbers of layer
removal are in the paper and not on the poster, and could not be read; those of downsampling are in
SpeechBrain's README.
"""

from dataclasses import replace

from .shape import Line, Model, Paper, Table, Training

MODEL = Model("zaiem", "large", blocks=24, first=13, small_first=7)
JOINT = Training("joint", MODEL, recipe={"strategy": "joint"})
STEPS = {"strategy": "two_stage", "second_last": "yes"}
TWO_STEPS = Training("two_steps", MODEL, "paper-two-stage", STEPS)
WHOLE = Training("baseline", MODEL, "paper-removal", single=24)
ENTROPY = "Early Exit: Entropy Threshold"
SIMILARITY = "Early Exit: Layer Sim. Threshold"
IN_STEPS = "Two Steps EE: Layer Sim. Threshold"
KEPT = (22, 20, 18, 16, 14, 12)
SHORTER = {"CL": "conv", "AV": "average", "SD": "resample"}
# by factor, in hparams of salah-zaiem/speeding_inferences: conv_downsampling/upsampled2_only,
# upsampled3, upsampled4; avg_downsampling/average_2_ups, average_3_ups, average_4_ups6;
# signal_downsampling/sig_down8000, sig_down5333, sig_down4000
EPOCHS = {"CL": (12, 15, 25), "AV": (10, 10, 25), "SD": (10, 10, 25)}
CONTROLS = "Controls: fixed exits"


def exits(
    group: str, training: Training, criterion: str, known: dict[float, float]
) -> tuple[Line, ...]:
    """
    Args:
        known: threshold -> the mean exit printed beside it, which thresholds of one's own aim at.
    """
    return tuple(
        Line(f"{x:g}", group, training, criterion=criterion, threshold=x, aim=mean)
        for x, mean in known.items()
    )


def removal(keep: int) -> Line:
    training = Training(f"first-{keep}-blocks", MODEL, "paper-removal", single=keep)
    return Line(str(keep), "Layer removal: blocks kept", training)


def shortened(called: str, method: str, factor: int) -> Line:
    """With two scores a frame from factor 3 on, as theirs."""
    options = {"shorten": f"{method}{factor}", **({"per_frame": "2"} if factor > 2 else {})}
    epochs = EPOCHS[called][factor - 2]
    preset = "paper-downsampling" + ("" if epochs == 15 else f"-{epochs}")
    training = Training(f"{method}{factor}", MODEL, preset, single=24, own=options)
    return Line(f"{called}{factor}", "Downsampling", training)


def fixed(name: str, training: Training, k: int) -> Line:
    """The same whatever the criterion is, and recorded with the lines of this one."""
    label = f"{name}, exit {k}"
    return Line(label, CONTROLS, training, criterion="similarity", block=k, control=True)


WITH_LM = "With a 4-gram language model"


def with_lm(line: Line, label: str, control: bool = True) -> Line:
    """The same system, decoded with a language model."""
    return replace(line, label=label, group=WITH_LM, control=control, lm="always")


BASELINE = Line("Full Model", "Baseline", WHOLE)
FIXED = (14, 18, 22, 24)  # exits, of which the last is worse where all learn together
JOINTLY = tuple(fixed("joint", JOINT, k) for k in FIXED)
STEPWISE = tuple(fixed("two steps", TWO_STEPS, k) for k in FIXED)
PAIRED = "joint minus two steps"
EXITS = (
    *exits(ENTROPY, JOINT, "entropy", {0.06: 13.80, 0.03: 17.61, 0.025: 20.52, 0.01: 23.98}),
    *exits(SIMILARITY, JOINT, "similarity", {0.92: 15.97, 0.95: 17.18, 0.965: 21.44, 0.98: 24.0}),
    *exits(IN_STEPS, TWO_STEPS, "similarity", {0.955: 13.97, 0.96: 14.52, 0.97: 21.46, 0.98: 23.0}),
)
FEWER = tuple(map(removal, KEPT))
DOWNSAMPLED = tuple(shortened(*pair, factor) for pair in SHORTER.items() for factor in (2, 3, 4))
# numbers with a language model are printed of the baseline and of downsampling alone
SHORT = {ENTROPY: "entropy", SIMILARITY: "similarity", IN_STEPS: "two steps, similarity"}
RESCORED = (
    *((with_lm(line, line.label, control=False), line) for line in (BASELINE, *DOWNSAMPLED)),
    *((with_lm(line, f"{SHORT[line.group]} {line.label}"), line) for line in EXITS),
)
WORDS = "with a language model minus greedy"

POSTER = Table(
    title="Exits by entropy and by similarity of layers, fewer blocks and a shortened input",
    heading="Technique",
    measures=(
        *("depth", "wer", "cer", "gmacs_per_s", "gmacs_a_batch", "rtf", "gpu_s", "cpu_s"),
        "params_m",
    ),
    lines=(
        BASELINE,
        *EXITS,
        *FEWER,
        *DOWNSAMPLED,
        *(line for line, _ in RESCORED),
        *JOINTLY,
        *STEPWISE,
    ),
    pairs=(
        *((PAIRED, *pair) for pair in zip(JOINTLY, STEPWISE, strict=True)),
        *(("fewer blocks minus the full model", line, BASELINE) for line in FEWER),
        *(("a shortened input minus the full model", line, BASELINE) for line in DOWNSAMPLED),
        *((WORDS, *pair) for pair in RESCORED),
    ),
    notes=(
        "Seconds and GMAC a batch there: of all of test-clean in batches of four that leave "
        "together, padding included; here GMAC and time a second of audio, and every utterance "
        "leaves by itself unless --batch says otherwise.",
        "Downsampling: CL a learned convolution, AV averages, SD resampling; the number is the "
        "factor, and from 3 on a frame gives two scores.",
        f"Decoding is greedy but in the lines `{WITH_LM}`, there LibriSpeech's, by pyctcdecode "
        "(alpha 0.5, beta 1), here the one that is given, in a search for words that it knows.",
    ),
)

PAPER = Paper(
    "zaiem",
    "Fine-tuning strategies for faster inference (Zaiem et al., 2023, arXiv:2303.06740)",
    {"1": POSTER},
    {},
)
