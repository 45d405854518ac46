"""The options that a YAML file gives, as plain text: what they mean is settled where the command
line settles it.

YAML is read without its own ideas of types (`no` is False, 010 is 8, 1:30 is 90 there), without
tags, anchors and depth: nothing of a file is executed or grows, and a key given twice is a mistake.
"""

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .errors import UsageError

BYTES = 2**20  # of a file; options are a few hundred
DEEPEST = 3  # the options, a mapping such as `set`, a list in it
NOTHING = ("", "~", "null", "Null", "NULL")  # an option without a value


class _Plain(yaml.BaseLoader):
    """Text, lists and mappings."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.YAMLError("anchors and aliases (& and *) are not taken: write it out")
        self._depth += 1
        if self._depth > DEEPEST + 1:
            raise yaml.YAMLError(f"options are nested at most {DEEPEST} deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"the key in line {line} is no plain text")
            if key.value in seen:
                raise yaml.YAMLError(f"the key {key.value!r} in line {line} is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read(path: Path) -> dict[str, Any]:
    """Key -> text, a list of texts, or a mapping of texts to texts or lists of them; options
    without a value are left out.

    Raises: UsageError: it cannot be read, is no YAML, or is no mapping.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(BYTES + 1)
        if len(data) > BYTES:
            raise UsageError(f"--config {path} has more than {BYTES:,} bytes: that is no options")
        loaded = yaml.load(data.decode("utf-8-sig"), _Plain)
    except OSError as error:
        raise UsageError(f"--config {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"--config {path} is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from error
    # a character that there is not fails as a number (ValueError)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        said = " ".join(str(error).split())[:300]
        raise UsageError(f"--config {path} is not YAML as options take it: {said}") from error
    if not isinstance(loaded, Mapping):
        raise UsageError(f"--config {path} holds no options; write lines such as `task: se`")
    _refuse_control_characters(path, loaded)
    return {key: value for key, value in loaded.items() if value not in NOTHING}


def _refuse_control_characters(path: Path, value: Any) -> None:
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    for one in value if isinstance(value, list) else ():
        _refuse_control_characters(path, one)
    if isinstance(value, str) and any(
        unicodedata.category(letter) in ("Cc", "Cs") for letter in value
    ):
        raise UsageError(
            f"--config {path}: {value[:40]!r} has a control character, which no option has"
        )
