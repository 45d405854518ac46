"""Masks on spectra, the machinery that enhancement and separation share: STFT, frame matching,
training aim, waveform.

After s3prl/downstream/{enhancement,separation}_stft{,2}/expert.py and loss.py, from the facts, with
torch for librosa. What is worth knowing of the original:

* Frame t of a centred STFT looks at the samples around t * hop, so N samples have 1 + N // hop
  frames. librosa reflects the signal at both ends before 0.9.0 (February 2022) and appends
  zeros since; s3prl pins no librosa (>= 0.7.2). The SUPERB-SG numbers are older than 0.9, the
  second recipes newer, and each keeps its own here (`pad`). Only the first and the last frame
  know the difference.
* Upstreams give one or two frames fewer than the STFT. The missing ones are zero features at the
  end; the LSTM reads them.
* The last samples of a waveform lie under the outermost edge of the last window alone, where the
  inverse divides by the nearly vanishing square of the window and turns any error of the mask
  into a click (a random mask on noise of 0.2 gave 350). The first recipes cut clicks away
  afterwards (`tail="guard"`); the second stop at the centre of the last frame and leave zeros
  behind it (`tail="drop"`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...benchmark.contract import Corpus, Example, Protocol, Setup
from ...benchmark.errors import UsageError

# samples: the hop where it follows a longer stride of an upstream; 10 and 20 ms are what SUPERB's
# are
FINEST, COARSEST = 160, 320
# of learning rates: SUPERB's search, on a log scale (s3prl issues 120, 360)
GRID = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
SLACK = 5  # s3prl asserts that features and STFT differ by fewer frames than this
PHASE_EPS = 1e-10  # s3prl/downstream/enhancement_stft2/expert.py
# samples: the end that is searched for clicks; trailing zeros that call the search off
GUARDED, UNGUARDED = 512, 2048


@dataclass(frozen=True)
class SpectralProtocol(Protocol):
    """The fields of a masking recipe; the defaults are what SUPERB-SG's enhancement and separation
    share.
    """

    n_fft: int = 512
    win: int = 512  # samples, Hann
    hop: int = 0  # samples; 0 = the upstream's stride, or a part of it (`hop_of`)
    pad: str = "reflect"  # what the STFT sees beyond both ends: reflect | constant (zeros)
    layers: int = 3
    hidden: int = 896  # in each direction
    dropout: float = 0.5
    activation: str = "relu"  # relu | sigmoid
    # npsm: |S| max(0, cos(angle Y - angle S)), non-negative phase-sensitive | am: |S|
    aim: str = "npsm"
    distance: str = "mse"  # mse | l1
    domain: str = "magnitude"  # what mask and aim live in: magnitude | log1p (of the magnitude)
    tail: str = "guard"  # see above: guard | drop
    # features to zero mean and unit variance over an utterance's own frames, per dimension
    standardise: bool = False

    def __post_init__(self):
        for field, *known in (
            ("pad", "reflect", "constant"),
            ("activation", "relu", "sigmoid"),
            ("aim", "npsm", "am"),
            ("distance", "mse", "l1"),
            ("domain", "magnitude", "log1p"),
            ("tail", "guard", "drop"),
        ):
            if getattr(self, field) not in known:
                raise UsageError(
                    f"protocol {self.name}: {field} is {' or '.join(known)}, not "
                    f"{getattr(self, field)!r}"
                )


def check(
    corpus: Corpus, protocol: SpectralProtocol, frames: Callable[[Tensor], Tensor]
) -> Iterator[str]:
    """Utterances too short to be transformed."""
    for split, items in corpus.splits.items():
        for item in items:
            if item.samples < protocol.n_fft:
                yield (
                    f"{item.id} of {split} has {item.samples} samples, less than one window of "
                    f"{protocol.n_fft}"
                )


@dataclass(frozen=True)
class Stft:
    """A centred short-time Fourier transform and its least-squares inverse
    (Griffin and Lim, 1984).
    """

    n_fft: int
    win: int
    hop: int
    pad: str

    def __post_init__(self):
        if self.hop >= self.win:
            raise UsageError(
                f"windows of {self.win} samples every {self.hop} leave audio between them that no "
                "mask can reach; choose a protocol with a fixed hop, or a longer win"
            )

    def frames(self, samples: int) -> int:
        return 1 + samples // self.hop

    def __call__(self, wav: Tensor) -> Tensor:
        """(..., N) -> (..., T, bins), complex."""
        return torch.stft(
            wav,
            self.n_fft,
            self.hop,
            self.win,
            self._window(wav),
            center=True,
            pad_mode=self.pad,
            return_complex=True,
        ).mT

    def inverse(self, spectrum: Tensor, samples: int) -> Tensor:
        """(T, bins) -> (samples,); zeros where no window reaches."""
        reached = min(samples, (len(spectrum) - 1) * self.hop + self.win // 2)
        wav = torch.istft(
            spectrum.T,
            self.n_fft,
            self.hop,
            self.win,
            self._window(spectrum.real),
            center=True,
            length=reached,
        )
        return F.pad(wav, (0, samples - reached))

    def _window(self, like: Tensor) -> Tensor:
        # periodic, as scipy's for spectra
        return torch.hann_window(self.win, dtype=like.dtype, device=like.device)


def hop_of(setup: Setup) -> int:
    """Samples between two spectra: the recipe's, or the upstream's stride up to 320. Of a
    longer stride the largest whole part of 160 to 320 samples (640, 960 and 1280 give 320);
    where it has none, 320.
    """
    if setup.protocol.hop or setup.stride <= COARSEST:
        return setup.protocol.hop or setup.stride
    parts = (
        setup.stride // m for m in range(2, setup.stride // FINEST + 1) if setup.stride % m == 0
    )
    return next((part for part in parts if part <= COARSEST), COARSEST)


def notices(setup: Setup) -> list[str]:
    """How feature frames meet spectra, where that is not one by one.
    UsageError where they cannot.
    """
    hop, stride = hop_of(setup), setup.stride
    Stft(setup.protocol.n_fft, setup.protocol.win, hop, setup.protocol.pad)
    if stride == hop:
        return []
    how = f"each read {stride // hop} times" if stride % hop == 0 else "interpolated"
    return [f"feature frames every {stride} samples, {how} for an STFT with a hop of {hop}"]


def stft_of(setup: Setup, samples: int) -> Stft:
    """The transform for an utterance of `samples`."""
    protocol = setup.protocol
    if samples < protocol.n_fft:
        raise UsageError(
            f"an utterance of {samples} samples is shorter than one window of {protocol.n_fft}; "
            "take it out"
        )
    return Stft(protocol.n_fft, protocol.win, hop_of(setup), protocol.pad)


def match(
    features: Tensor, frames: Tensor, samples: Tensor, stride: int, hop: int
) -> tuple[Tensor, Tensor]:
    """Give each utterance one feature vector a spectrum.

    Each several times where the upstream's stride is so many hops; interpolated linearly where the
    ratio is no whole number. Then cut, or filled with zeros at the end.

    Args:
        features: (B, T, D) and frames: (B,), as the upstream left them.
        samples: (B,) of each waveform.
        stride, hop: samples a frame, of the upstream and of the STFT.
    Returns: (B, T', D) and (B,) spectra.
    """
    frames, samples = frames.to(features.device), samples.to(features.device)
    spectra = 1 + samples // hop
    off = (spectra - frames * stride / hop).abs()
    # s3prl's slack, where it repeats at most twice
    if float(off.max()) >= SLACK * max(1, stride / hop / 2):
        worst = int(off.argmax())
        raise UsageError(
            f"an upstream that gives {int(frames[worst])} frames for {int(samples[worst])} samples "
            f"does not have a stride of {stride}; correct its card"
        )
    longest = int(spectra.max())
    if stride % hop:
        return _interpolated(features, frames, stride / hop, longest), spectra
    valid = torch.arange(features.shape[1], device=features.device) < frames[:, None]
    matched = torch.where(valid[..., None], features, 0.0).repeat_interleave(stride // hop, dim=1)[
        :, :longest
    ]
    return F.pad(matched, (0, 0, 0, longest - matched.shape[1])), spectra


def _interpolated(features: Tensor, frames: Tensor, ratio: float, longest: int) -> Tensor:
    """(B, T, D) -> (B, longest, D): spectrum t lies at (t + 1/2) / ratio - 1/2 between a row's own
    frames (half-pixel centres, so that frames and spectra span the same time); the ends are held,
    and what begins behind the last frame is zero.
    """
    t = (torch.arange(longest, device=features.device) + 0.5) / ratio
    last = (frames - 1)[:, None]
    place = torch.minimum((t - 0.5).clamp(min=0)[None], last)  # (B, longest)
    left = place.floor().long()
    right, weight = torch.minimum(left + 1, last), (place - left)[..., None].to(features.dtype)

    def at(index: Tensor) -> Tensor:
        return features.gather(1, index[..., None].expand(-1, -1, features.shape[2]))

    return torch.where(
        (t < frames[:, None])[..., None], torch.lerp(at(left), at(right), weight), 0.0
    )


def standardised(features: Tensor, frames: Tensor) -> Tensor:
    """(B, T, D) to zero mean and unit variance over each row's own frames; padding becomes zero.

    Most of a transformer state is the same vector in every frame; a head with a few hundred updates
    does not learn to look past it.
    """
    own = (torch.arange(features.shape[1], device=features.device) < frames[:, None])[..., None]
    count = frames[:, None, None]
    centred = (features - (features * own).sum(1, keepdim=True) / count) * own
    return centred * (centred.square().sum(1, keepdim=True) / count + 1e-5).rsqrt()


class SpectralHead(nn.Module):
    """`match`, then a network of masks. (B, T, D) features, (B,) frames, (B,) samples -> (B,
    [sources,] T', bins).
    """

    def __init__(self, masks: nn.Module, setup: Setup):
        super().__init__()
        self.masks, self.stride, self.standardise = masks, setup.stride, setup.protocol.standardise
        self.hop = hop_of(setup)

    def forward(self, features: Tensor, frames: Tensor, samples: Tensor) -> Tensor:
        if self.standardise:
            features = standardised(features, frames)
        return self.masks(*match(features, frames, samples, self.stride, self.hop))


def compared(noisy: Tensor, clean: Tensor, protocol: SpectralProtocol) -> tuple[Tensor, Tensor]:
    """Complex (..., T, bins) spectra -> what a mask multiplies and what that should give, both as
    magnitudes in the recipe's domain.
    """
    magnitude, aim = noisy.abs(), clean.abs()
    if protocol.aim == "npsm":  # Kolbaek et al., 2017 (uPIT)
        aim = aim * torch.relu(torch.cos(noisy.angle() - clean.angle()))
    if protocol.domain == "log1p":
        magnitude, aim = magnitude.log1p(), aim.log1p()
    return magnitude, aim


def spectra(example: Example, setup: Setup, device: torch.device) -> tuple[Tensor, Tensor]:
    """What `compared` makes of what was heard, (T, bins), and of the target, (..., T, bins). Kept
    while a batch lasts, for every head.
    """
    return _spectra(example, setup.protocol, stft_of(setup, len(example.wav)), device)


@lru_cache(maxsize=64)
def _spectra(
    example: Example, protocol: SpectralProtocol, stft: Stft, device: torch.device
) -> tuple[Tensor, Tensor]:
    return compared(stft(example.wav.to(device)), stft(example.target.to(device)), protocol)


def distance(mask: Tensor, magnitude: Tensor, aim: Tensor, protocol: SpectralProtocol) -> Tensor:
    """How far masked speech is from its aim, (...): sum over frequencies, mean over frames. All
    (..., T, bins), broadcast.
    """
    error = mask * magnitude - aim
    return (error.square() if protocol.distance == "mse" else error.abs()).sum(
        dim=(-2, -1)
    ) / error.shape[-2]


def apply(mask: Tensor, wav: Tensor, setup: Setup) -> Tensor:
    """(T' >= T, bins) mask on the spectra of (N,) audio -> (N,) audio, with the phase it had."""
    protocol, stft = setup.protocol, stft_of(setup, len(wav))
    spectrum = stft(wav)
    mask = fitting(mask, spectrum)
    if protocol.domain == "log1p":
        magnitude = spectrum.abs()
        masked = torch.expm1(mask * magnitude.log1p()) * (spectrum / (magnitude + PHASE_EPS))
    else:
        masked = mask * spectrum
    if protocol.tail == "guard":
        return without_clicks(stft.inverse(masked, len(wav)))
    centre = (len(spectrum) - 1) * stft.hop
    return F.pad(stft.inverse(masked, centre), (0, len(wav) - centre))


def fitting(mask: Tensor, spectrum: Tensor) -> Tensor:
    """The frames of a (..., T', bins) mask that the (T, bins) spectrum has."""
    if mask.shape[-2] < len(spectrum):
        raise UsageError(
            f"a mask of {mask.shape[-2]} frames cannot cover {len(spectrum)} spectra: it was made "
            "for shorter audio"
        )
    return mask[..., : len(spectrum), :]


def without_clicks(wav: Tensor) -> Tensor:
    """Silence from the first click on: a sample of the last 512 that is louder than
    everything before those 512.

    The end is that of the signal, unless more than 2048 zeros follow it. A silent or shorter signal
    is left alone (on a silent one s3prl's `postprocess` raises).
    """
    heard = wav.nonzero()
    end = int(heard[-1]) + 1 if len(heard) else 0
    start = end - GUARDED
    if end < len(wav) - UNGUARDED or start <= 0:
        return wav
    clicks = (wav[start:end].abs() > wav[:start].abs().max()).nonzero()
    if not len(clicks):
        return wav
    quiet = wav.clone()
    quiet[start + int(clicks[0]) :] = 0
    return quiet
