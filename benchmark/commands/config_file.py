"""--config: the options of a YAML file, in front of those of the command line, which win."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError, did_you_mean

YES_NO = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def with_config(parser: argparse.ArgumentParser, argv: Sequence[str]) -> argparse.Namespace:
    """The options of `argv`, and of its --config file where `argv` says nothing; --set becomes a
    mapping.

    Raises: UsageError: an option that there is not, or a value that it does not take.
    """
    from ..config import pairs

    args = parser.parse_args(argv)
    if args.config:
        try:
            # argparse takes the file's words as it takes those of a command line
            given = parser.parse_args(_words(parser, args.config))
        except UsageError as error:
            said = str(error)
            raise UsageError(
                said if said.startswith("--config") else f"--config {args.config}: {said}"
            ) from None
        args = parser.parse_args(argv, given)
    args.set = pairs(args.set)
    return args


def _words(parser: argparse.ArgumentParser, path: Path) -> list[str]:
    """A file's options as the words of a command line."""
    from ..yaml_options import read

    no_option = ("help", "config", "version")
    known = {a.dest: a for a in parser._actions if a.option_strings and a.dest not in no_option}
    words: list[str] = []
    for key, value in read(path).items():
        if key not in known:
            raise UsageError(f"there is no option {key!r}; {did_you_mean(key, known)}")
        words += _option(key, known[key], value)
    return words


def _option(key: str, action: argparse.Action, value: Any) -> list[str]:
    flag = action.option_strings[0]
    if action.nargs == 0:
        if not isinstance(value, str) or value.lower() not in YES_NO:
            raise UsageError(f"`{key}` is true or false, not {value!r}")
        return [flag] if YES_NO[value.lower()] else []
    if key == "set" and not isinstance(value, Mapping):
        raise UsageError("`set` is a mapping of key: value lines")
    if isinstance(value, Mapping):
        if key == "set" or (key == "data" and action.nargs == "+"):
            value = [_pair(key, of, some) for of, some in value.items()]
        else:
            raise UsageError(f"`{key}` takes a value, not a mapping")
    if isinstance(value, list) and action.nargs not in ("+", "*"):
        raise UsageError(f"`{key}` takes one value, not the list {_shown(value)}")
    values = value if isinstance(value, list) else [value]
    for one in values:
        if not isinstance(one, str):
            raise UsageError(f"`{key}` takes plain values, not {_shown(one)}")
        if one.startswith("-") and not _is_number(one):
            raise UsageError(f"`{key}`: {one!r} would be an option of its own")
    return [flag, *values] if values else []


def _pair(key: str, name: str, value: Any) -> str:
    if "=" in name or name.startswith("-"):
        raise UsageError(f"`{key}`: {name!r} is no name of a setting")
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = ",".join(value)
    if not isinstance(value, str):
        raise UsageError(f"`{key}`: {name} takes a value or a list of them, not {_shown(value)}")
    return f"{name}={value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) < 60 else f"{text[:60]}..."
