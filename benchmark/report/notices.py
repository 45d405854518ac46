"""What is said once a command, however often it is met."""

import sys

_said: set[str] = set()


def notice(sentence: str) -> None:
    """To stderr."""
    if sentence not in _said:
        _said.add(sentence)
        print(f"notice: {sentence}", file=sys.stderr)
