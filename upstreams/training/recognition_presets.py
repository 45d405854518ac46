"""The recipes of the systems that spell: those of their publications, and small ones of our own."""

from dataclasses import replace

from .recognition_recipe import RecognitionRecipe

# ---- HuBERT-EE -----------------------------------------------------------------------------------

HUBERT_EE_PAPER = RecognitionRecipe(
    source="Yoon, Woo and Kim, 2024, sec. 2.3 and 3.1: joint, lambda 1, LibriSpeech's 960 hours, "
    "the best by dev-other, and the fine-tuning scheme of HuBERT, in fairseq. That is published "
    "for 10 hours alone (examples/hubert/config/finetune/base_10h.yaml: optimiser, mean over "
    "utterances, warm-up and decay by three stages); for 960 hours the nearest is wav2vec 2.0's, "
    "taken here (examples/wav2vec/config/finetuning/base_960h.yaml: steps, lr, shares of the three "
    "stages, floor, masks, layerdrop, dropout, no clipping, 8 GPUs of 3,200,000 samples each, here "
    "one after another). Otherwise here: bf16, not fp16; the best by the dev split of --data (of "
    "LibriSpeech's folders dev-clean); chosen: every. With --set "
    "strategy=two_stage, or single=12 (the backbone)",
    strategy="joint",
    lambda_=1.0,
    per="utterance",
    steps=320_000,
    batch=0,
    seconds=200.0,
    accumulate=8,
    every=4000,
    best="last",
    optimiser="adam",
    lr=1e-5,
    head_lr=1e-5,
    betas=(0.9, 0.98),
    eps=1e-8,
    clip=0.0,
    schedule="tri_stage",
    warmup=32_000,
    hold=128_000,
    decay=160_000,
    floor=0.05,
    front=0.0,
    freeze=0,
    layerdrop=0.1,
    activation_dropout=0.1,
    mask_prob=0.5,
    mask_width=10,
    mask_least=2,
    channel_prob=0.1,
    channel_width=64,
)
HUBERT_EE_10H = replace(
    HUBERT_EE_PAPER,
    source="HuBERT's scheme for 10 hours (fairseq/examples/hubert/config/finetune/base_10h.yaml; "
    "the rate has not fallen to its floor at the end there either), with HuBERT-EE's losses",
    steps=25_000,
    accumulate=1,
    every=1000,
    lr=2e-5,
    head_lr=2e-5,
    warmup=8000,
    hold=0,
    decay=72_000,
    freeze=10_000,
    mask_prob=0.75,
    channel_prob=0.5,
)

# ---- Wright et al., Wav2Vec2-CTC -----------------------------------------------------------------

WAV2VEC2_CTC_PAPER = RecognitionRecipe(
    source="Wright et al., 2024, eq. 2: the unweighted sum of all exits; LibriSpeech's 960 hours; "
    "augustgw/wav2vec2-ee: batch (as the names of its checkpoints give it, 46,874 updates an "
    "epoch), 50 epochs, lr of the sibling scripts of that batch, weight_decay; otherwise "
    "transformers' Trainer (AdamW with betas 0.9 and 0.999, eps, clip, linear without a warm-up) "
    "and the configuration of facebook/wav2vec2-base (sums of losses, frozen convolutions, the "
    "dropouts, masks). Their table is of the 40th epoch; here of the best by dev-clean, and bf16; "
    "chosen: every. Exit distillation: --set kd=0.7",
    strategy="joint",
    lambda_=1.0,
    per="batch",
    steps=2_343_700,
    batch=6,
    every=46_874,
    best="last",
    optimiser="adamw",
    lr=2e-5,
    head_lr=2e-5,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.01,
    decayed="weights",
    clip=1.0,
    schedule="linear",
    warmup=0,
    projection_dropout=0.1,
    dropout=0.1,
    attention_dropout=0.1,
    mask_prob=0.05,
    mask_width=10,
    mask_least=2,
)
WAV2VEC2_CTC_SINGLE = replace(
    WAV2VEC2_CTC_PAPER,
    source="its models with one exit (augustgw/wav2vec2-ee: finetune_non-ee.py): batch, lr, 40 "
    "epochs, the defaults of transformers' Wav2Vec2Config; the rest as paper. With --set single=K",
    steps=703_120,
    batch=16,
    every=17_578,
    layerdrop=0.1,
    projection_dropout=0.0,
    activation_dropout=0.1,
    head_dropout=0.1,
)

# ---- Zaiem et al. --------------------------------------------------------------------------------

ZAIEM_PAPER = RecognitionRecipe(
    source="Zaiem et al., 2023, early exits trained with the encoder; the numbers are their "
    "experiments' (salah-zaiem/speeding_inferences: hparams/early_exiting/early_exits.yaml): "
    "train-clean-100, 20 epochs of 14,270 updates, batch, Adam and both rates, NewBob and its "
    "numbers, utterances in ascending length, frozen convolutions, no layerdrop; SpeechBrain's "
    "means over symbols and its clip of 5. Speed perturbation is defined there and never called: "
    "--set speeds=0.95,1,1.05. Otherwise here: bf16",
    strategy="joint",
    lambda_=1.0,
    per="symbol",
    alphabet="letters",
    steps=285_400,
    batch=2,
    order="ascending",
    every=14_270,
    best="last",
    optimiser="adam",
    lr=1e-4,
    head_lr=2e-4,
    betas=(0.9, 0.999),
    eps=1e-8,
    clip=5.0,
    schedule="newbob",
    annealing=0.9,
    head_annealing=0.8,
    improvement=0.0025,
)
ZAIEM_TWO_STAGE = replace(
    ZAIEM_PAPER,
    source="Zaiem et al., 2023, the second approach: the encoder is tuned first (their baseline, "
    "hparams/layer_removals.yaml: 10 epochs of 9513 updates of 3, Adadelta and its numbers for the "
    "head), then the exits, all of them new, the last too (new_early_exits.yaml: 19 epochs, "
    "Adam; batches of 2 there). Whether the encoder is frozen in the second step is not said: here "
    "it is; the rest as paper",
    strategy="two_stage",
    second_last=True,
    steps=95_130,
    second_steps=180_747,
    batch=3,
    every=9513,
    head_optimiser="adadelta",
    head_lr=0.9,
    rho=0.95,
    second_optimiser="adam",
    second_lr=2e-4,
)
ZAIEM_REMOVAL = replace(
    ZAIEM_TWO_STAGE,
    source="Zaiem et al., 2023, layer removal and the baseline: hparams/layer_removals.yaml, as in "
    "two_stage. With --set single=22, 20, ..., 12, or 24, the baseline",
    strategy="joint",
    second_last=False,
    second_steps=0,
    second_optimiser="",
    second_lr=0.0,
)
ZAIEM_DOWNSAMPLING = replace(
    ZAIEM_REMOVAL,
    source="Zaiem et al., 2023, downsampling: hparams/sig_down8000.yaml of their experiments, "
    "which their page gives for all three methods (15 epochs of 4757 updates of 6, whose filter "
    "learns with the head), otherwise as the baseline. "
    "With --set single=24 shorten=conv2, from factor 3 on per_frame=2 (`upsampling`). Otherwise "
    "here: the filter begins as the average",
    steps=71_355,
    batch=6,
    every=4757,
)
ZAIEM_EPOCHS = {  # of the files of other methods and factors
    f"paper-downsampling-{epochs}": replace(
        ZAIEM_DOWNSAMPLING,
        source=f"as paper-downsampling, {epochs} epochs, as of {of} there",
        steps=epochs * ZAIEM_DOWNSAMPLING.every,
    )
    for epochs, of in ((10, "AV2, AV3, SD2 and SD3"), (12, "CL2"), (25, "factor 4"))
}

# ---- Wright et al., Conformers -------------------------------------------------------------------

CONFORMER_CTC_PAPER = RecognitionRecipe(
    source="Wright et al., 2024, eq. 2 and sec. 5; augustgw/early-exit-transformer (train.py, "
    "util/conf.py): word pieces, batches of 64 in four of alike lengths with an update each, AdamW "
    "and its numbers, Noam's schedule with the warm-up of an epoch, clip, at most 360 characters, "
    "torch's mean of CTC losses. The number of epochs is nowhere: 100, as its page averages "
    "epochs 95 to 100. Otherwise here: the best by dev-clean instead of an average of the last "
    "models, losses of valid frames alone, bf16; chosen: every",
    strategy="joint",
    lambda_=1.0,
    per="symbol",
    alphabet="bpe:256",
    steps=1_758_000,
    batch=16,
    most=359,
    every=17_580,
    best="last",
    optimiser="adamw",
    lr=1.0,
    head_lr=1.0,
    betas=(0.9, 0.98),
    eps=1e-9,
    weight_decay=5e-4,
    clip=1.0,
    schedule="noam",
    warmup=17_580,
    width=256,
)
CONFORMER_AED_PAPER = RecognitionRecipe(
    source="Wright et al., 2024, eq. 4 (0.3 CTC, 0.7 cross entropy) and SpeechBrain's recipe, "
    "which it names (recipes/LibriSpeech/ASR/transformer/hparams/conformer_small.yaml @ 077a045): "
    "word pieces, 110 epochs, 128 utterances an update, Adam and its numbers, Noam with 25,000 "
    "updates of warm-up to 0.001, clip, means over utterances, speeds. Its last 20 epochs by SGD "
    "are left out. There two masks of up to 40 frames and two of up to 30 bands and a time warp; "
    "here spans of fixed width that hide as much on average. Chosen: every",
    strategy="joint",
    lambda_=1.0,
    ctc=0.3,
    per="utterance",
    alphabet="bpe:5000",
    steps=241_670,
    batch=16,
    accumulate=8,
    every=2197,
    best="last",
    optimiser="adam",
    lr=1e-3,
    head_lr=1e-3,
    betas=(0.9, 0.98),
    eps=1e-9,
    clip=5.0,
    schedule="noam",
    warmup=25_000,
    mask_prob=0.03,
    mask_width=20,
    channel_prob=0.375,
    channel_width=15,
    speeds=(0.95, 1.0, 1.05),
)

# ---- ours ----------------------------------------------------------------------------------------

TINY = RecognitionRecipe(
    source="this project: for hubert.tiny, the built-in sentences and minutes on two cores. The "
    "exits and the sum of their CTC losses are the publication's; a mean over utterances, AdamW, a "
    "linear schedule and no masks are the same for all three systems",
    lr=5e-4,  # at 1e-4 a joint HuBERT-EE had 11 % at its end after 500 updates, and 38 % at block 8
    warmup=100,
)
HUBERT_EE = {"tiny": TINY, "paper": HUBERT_EE_PAPER, "paper-10h": HUBERT_EE_10H}
WAV2VEC2_CTC = {"tiny": TINY, "paper": WAV2VEC2_CTC_PAPER, "paper-single": WAV2VEC2_CTC_SINGLE}
ZAIEM = {
    "tiny": TINY,
    "paper": ZAIEM_PAPER,
    "paper-two-stage": ZAIEM_TWO_STAGE,
    "paper-removal": ZAIEM_REMOVAL,
    "paper-downsampling": ZAIEM_DOWNSAMPLING,
    **ZAIEM_EPOCHS,
}
CONFORMER_CTC_TINY = RecognitionRecipe(
    source="this project: for the built-in sentences and minutes on two cores; loss, optimiser and "
    "schedule of the publication, masks and speeds of Conformer-AED's",
    per="symbol",
    steps=1200,
    batch=8,
    every=150,
    optimiser="adamw",
    lr=2e-3,
    head_lr=2e-3,
    betas=(0.9, 0.98),
    eps=1e-9,
    weight_decay=5e-4,
    clip=1.0,
    schedule="noam",
    warmup=200,
    mask_prob=0.05,
    mask_width=10,
    channel_prob=0.1,
    channel_width=8,
    speeds=(0.9, 1.0, 1.1),
)
CONFORMER_CTC = {"tiny": CONFORMER_CTC_TINY, "paper": CONFORMER_CTC_PAPER}
CONFORMER_AED = {
    "tiny": replace(CONFORMER_CTC_TINY, ctc=0.3, per="utterance", every=300),
    "paper": CONFORMER_AED_PAPER,
}
