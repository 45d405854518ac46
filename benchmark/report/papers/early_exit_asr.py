"""Tables 2 and 3 and figure 3 of Wright et al., 2024 (arXiv:2309.09546): models trained with the
losses of all exits beside models with one exit, and two measures by which an exit is chosen.

Thresholds are not printed there, so those of the figure are set for mean exits in even steps. The
figure's wav2vec 2.0 and Conformers are those of the table.
"""

from .shape import Figure, Line, Model, Paper, Table, Training

MODELS = {
    "Conformer-CTC": Model("conformer_ctc"),
    "Conformer-AED": Model("conformer_aed"),
    "Wav2Vec2-CTC": Model("wav2vec2_ctc"),
}
# a model with one exit of the fine-tuned encoder has another recipe than that with six
SINGLE_PRESETS = {"Wav2Vec2-CTC": "paper-single"}
RESCORED = {"Conformer-AED": "given"}  # with a language model, the others without
EXITS, SINGLE = (2, 4, 6, 8, 10, 12), (2, 4, 6, 12)
ONE, EARLY = "no-EE", "EE"
WRITE = ("Conformer-AED",)  # their decoders search by themselves
BEAM = {"flashlight.lib.text.decoder": "lm", "torchaudio": "lm"}
AIMS = (2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5, 11.0)
MEASURES = {"frame entropy": "entropy", "sentence confidence": "posterior"}

EARLY_EXITS = {
    name: Training(f"{model.upstream}-ee", model, recipe={"strategy": "joint"})
    for name, model in MODELS.items()
}
SINGLES = {
    (name, k): Training(
        f"{model.upstream}-{k}-blocks", model, SINGLE_PRESETS.get(name, "paper"), single=k
    )
    for name, model in MODELS.items()
    for k in SINGLE
}


def both(name: str, k: int) -> tuple[Line, ...]:
    """A line of table 2: the model with one exit, where there is one, and the exit of the other."""
    lm = RESCORED.get(name, "never")
    exit = Line(str(k), name, EARLY_EXITS[name], arm=EARLY, block=k, lm=lm)
    return (Line(str(k), name, SINGLES[name, k], arm=ONE, lm=lm), exit) if k in SINGLE else (exit,)


def swept(name: str, criterion: str) -> tuple[Line, ...]:
    """The curve of a model and a measure."""
    return tuple(
        Line(
            f"mean exit {aim:g}",
            f"{name}, {criterion}",
            EARLY_EXITS[name],
            criterion=MEASURES[criterion],
            aim=aim,
            needs=BEAM if MEASURES[criterion] == "posterior" and name not in WRITE else {},
            lm=RESCORED.get(name, "never"),
        )
        for aim in AIMS
    )


PER_EXIT = Table(
    title="WER on LibriSpeech at each exit, beside models with one exit",
    heading="Layer",
    measures=("wer", "wer_other", "cer", "gmacs_per_s", "params_m"),
    lines=tuple(line for name in MODELS for k in EXITS for line in both(name, k)),
    arms=(ONE, EARLY),
    minus=(EARLY, ONE),
    notes=(
        "Layer is where the exit is, or how many blocks a model with one exit has.",
        "There Conformer-CTC is decoded with a beam of 10, and a word that no lexicon has becomes "
        "the nearest one by edit distance; here all are decoded greedily, by no lexicon.",
        "There Conformer-AED is rescored with a Transformer language model; here with the word "
        "n-gram that is given (--set lm=FILE.arpa), and without one not at all.",
        "Wav2Vec2-CTC with one exit at 12 is there the public facebook/wav2vec2-base-960h; the "
        "authors' own such training scored 3.74 and 9.86 (augustgw/wav2vec2-ee).",
    ),
)

OTHER_CORPORA = Table(
    title="WER of Conformer-CTC on TED-LIUM and VoxPopuli, beside models with one exit",
    heading="Layer",
    measures=("wer", "wer_tedlium", "wer_voxpopuli", "cer", "gmacs_per_s", "params_m"),
    lines=tuple(line for k in EXITS for line in both("Conformer-CTC", k)),
    arms=(ONE, EARLY),
    minus=(EARLY, ONE),
    notes=(
        "Ours are of one corpus, the one that is given (--data), and are trained on its training "
        "split; the systems are those of table 2.",
        PER_EXIT.notes[1],
    ),
)

SELECTION = Figure(
    title="WER against mean exit, by the measure that an exit is chosen by",
    kind="paper_exits",
    lines=tuple(line for name in MODELS for measure in MEASURES for line in swept(name, measure)),
    notes=(
        "Sentence confidence is the posterior of the best of 300 hypotheses, of Conformer-AED "
        "those of its decoder; of CTC here the beam is 300 and has no lexicon, there it is 1500, "
        "with one and -0.26 a word.",
    ),
)

PAPER = Paper(
    "early-exit-asr",
    "early-exit architectures for ASR (Wright et al., 2024, arXiv:2309.09546)",
    {"2": PER_EXIT, "3": OTHER_CORPORA},
    {"3": SELECTION},
)
