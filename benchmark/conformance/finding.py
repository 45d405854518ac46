"""What a check finds: whether something holds, and a sentence that says what."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import BenchmarkError
from ..foreign import prints_to_stderr


@dataclass(frozen=True)
class Finding:
    """
    Attributes:
        ok: whether what was checked holds.
        sentence: what was checked, with the values that were found.
        warning: it holds, and a user should still know.
    """

    ok: bool
    sentence: str
    warning: bool = False


# what a check yields: does it hold, and what was checked
Findings = Iterator[tuple[bool, str] | Finding]


@prints_to_stderr()
def findings(what: str, checks: Findings) -> list[Finding]:
    """Run a check to its end, or to where it crashes, which is a finding, too.

    Args:
        what: is checked, as the sentence about a crash begins.
    """
    found: list[Finding] = []
    try:
        found += [c if isinstance(c, Finding) else Finding(bool(c[0]), c[1]) for c in checks]
    except BenchmarkError as error:
        found.append(Finding(False, f"{what}: {error}"))
    except (Exception, SystemExit) as error:  # a stranger's code may fail in any way
        crash = f"{type(error).__name__}: {error}"
        found.append(Finding(False, f"{what}: it crashes with {crash}"))
    return found


def name_of(check: object) -> str:
    """A check's function name as words."""
    return getattr(check, "__name__", "check").replace("_", " ")
