"""What produced a row: package versions and the checkout's commit."""

import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..extras import HERE, checkout


def versions() -> dict[str, str | None]:
    out: dict[str, str | None] = {"python": sys.version.split()[0], "earlyexit-superb": release()}
    for package in (
        "torch",
        "torchaudio",
        "numpy",
        "lightning-fabric",
        "pesq",
        "pystoi",
        "asteroid",
        "s3prl",
    ):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            out[package] = None
    return out


def release() -> str:
    """The version of this very code, whatever else is installed."""
    if not checkout():
        return version("earlyexit-superb")
    setup = ConfigParser()
    setup.read(HERE / "setup.cfg", encoding="utf-8")
    return setup["metadata"]["version"]


def git_commit() -> str | None:
    """The checkout's commit, "+" behind it when files differ; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        said = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip() or None
