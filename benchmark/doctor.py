"""Which packages import here, and what mends the ones that do not. Each is tried in a process of its own."""
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

INSTALL = "pip install -c constraints.txt"
PACKAGES = {  # module -> (distribution, what for, needed for the built-in defaults)
    "numpy": ("numpy", "everything", True), "torch": ("torch", "everything", True), "pandas": ("pandas", "tables", True),
    "yaml": ("PyYAML", "--config", True), "soundfile": ("soundfile", "audio files", True), "scipy": ("scipy", "resampling", True),
    "safetensors": ("safetensors", "weights", True), "pytorch_lightning": ("pytorch-lightning", "training heads", True),
    "pesq": ("pesq", "speech enhancement", True), "pystoi": ("pystoi", "speech enhancement", True),
    "espeakng_loader": ("espeakng-loader", "the built-in corpora", True),
    "torchaudio": ("torchaudio", "training hubert.tiny, torchaudio weights", False),
    "transformers": ("transformers", "Hugging Face weights", False), "sklearn": ("scikit-learn", "clustering units", False),
    "asteroid": ("asteroid", "separation; parity tests", False), "jiwer": ("jiwer", "speech recognition", True),
    "flashlight.lib.text.decoder.kenlm": ("flashlight-text", "beam search with a language model", False),
    "s3prl.upstream.interfaces": ("s3prl", "s3prl upstreams; parity tests", False),
}
KNOWN = (  # what the failure says -> what it is and the command that mends it; each was met (CONTRIBUTING.md, "The pins")
    (r"different CUDA versions|libc10_cuda|libtorch_cuda|undefined symbol|libcudart",
     "torch and torchaudio were built for different CUDA versions or torch releases", f"{INSTALL} torch torchaudio"),
    (r"pkg_resources", "setuptools 82 and later have no pkg_resources, which torchmetrics 0.11 (asteroid's pin) imports",
     f'{INSTALL} "setuptools<82"'),
    (r"set_audio_backend|sox_effects", "s3prl calls what torchaudio 2.9 and later no longer have; this project's own use of s3prl is shimmed",
     "nothing to do here; in your own code call earlyexit_superb.benchmark.shim.s3prl_shim() before importing s3prl"),
    (r"HfFolder|Repository", "s3prl's runner needs a huggingface_hub older than 1.0; this project does not use it", "nothing to do"),
    (r"numpy.dtype size changed|_ARRAY_API|numpy.core.multiarray", "a package was compiled for another numpy", f"{INSTALL} --force-reinstall numpy"),
    (r"sndfile", "libsndfile is missing", f"{INSTALL} --force-reinstall soundfile"),
)


def diagnose(said: str, distribution: str) -> tuple[str, str]:
    """(what is wrong, the command that mends it) from the last line of a failed import."""
    for pattern, meaning, fix in KNOWN:
        if re.search(pattern, said):
            return meaning, fix
    if "No module named" in said:
        return "it, or a package it imports, is not installed", f"{INSTALL} {distribution}"
    return "an import failure this program does not know", f"{INSTALL} --force-reinstall {distribution}"


def examine() -> int:
    """Print a line a package; 3 when the built-in defaults cannot run, else 0."""
    broken = False
    print(f"python {sys.version.split()[0]}" + ("" if sys.version_info >= (3, 10) else ": too old, 3.10 or later is needed"))
    for module, (distribution, purpose, needed) in PACKAGES.items():
        try:
            found = version(distribution)
        except PackageNotFoundError:
            found = None
        said = _import(module) if found else f"No module named {module}"
        if not said:
            print(f"ok        {distribution} {found} ({purpose})")
            continue
        meaning, fix = diagnose(said, distribution)
        broken = broken or needed
        print(f"{'BROKEN' if needed else 'missing':9} {distribution} {found or ''} ({purpose}): {meaning}\n"
              f"          it says: {said}\n          run: {fix}")
    print(f"{'ok       ' if shutil.which('git') else 'missing  '} git (the commit in each result)")
    if broken:
        print(f"the built-in defaults cannot run here; the tested set is in constraints.txt: {INSTALL} -e .[mini]")
    return 3 if broken else 0


def _import(module: str) -> str:
    """"" when `module` imports in a fresh process, else the last line it says."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", f"import {module}"], capture_output=True, text=True, timeout=300)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
