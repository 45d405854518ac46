"""Result files of older schemas, brought to this one by what they hold; nothing is run again.

Schema 1 (until 0.1.0) had macs_saved and time_saved at the top, the counted multiply-accumulates in
detail.cost, no speed, parameters, memory or layer weights. Schema 2 (0.2.0) is schema 3 but for
what it does not have: its metrics say no least and most.
"""

import re
from pathlib import Path
from typing import Any

from .errors import UsageError

SCHEMA = 3
UPDATE = (
    "update the program (pip install -U earlyexit-superb), or run its command again with --force"
)


class NewerSchema(UsageError):
    """The file is fine, this program is too old for it."""


def refuse_newer(schema: Any, path: Path) -> None:
    """NewerSchema where a later version gave its rows that number; ValueError where it is none."""
    if type(schema) is not int or schema < 1:
        raise ValueError(f"schema {schema!r:.40}")
    if schema > SCHEMA:
        raise NewerSchema(
            f"{path}: result schema {schema}, this version reads 1 to {SCHEMA}; {UPDATE}"
        )


def upgraded(raw: dict[str, Any]) -> dict[str, Any]:
    """The fields of a result, of any schema that is known, as this one has them."""
    if raw["schema"] != 1:
        return raw | {"schema": SCHEMA}
    raw, was = dict(raw), raw["detail"].get("cost", {})
    macs_saved, time_saved = raw.pop("macs_saved"), raw.pop("time_saved")
    raw["cost"] = {
        "gmacs_per_s": was["macs"] / was["audio_seconds"] / 1e9 if was else None,
        "reference": raw["cell"]["upstream"] if was else None,
        "macs_saved": macs_saved,
        "time_saved": time_saved,
        "timed": was.get("timed"),
    }
    calibration = raw["detail"].get("calibration")
    if calibration and "knob" not in calibration:
        knob = raw["cell"]["knob"]
        calibration |= {"knob": knob, "value": calibration.pop(knob, raw["cell"]["value"])}
    return raw | {"schema": SCHEMA}


def path_of_schema_1(cell: Any, root: Path) -> Path:
    """Where version 0.1.0 kept a cell."""
    exit = cell.exit + ("+ln" if cell.layer_norm and not cell.knob else "")
    exit += f",{cell.knob}={cell.value:g},{cell.span}" if cell.knob else ""
    exit += "" if cell.seed is None else f",seed={cell.seed}"
    corpus, recipe = f"{cell.corpus}-{cell.corpus_hash}", f"{cell.protocol}-{cell.settings}"
    name = f"{cell.revision or 'none'}.{exit}.json"
    parts = (cell.task, corpus, recipe, cell.upstream, name)
    return root.joinpath(*(re.sub(r"[^\w.,=+()-]+", "_", part) for part in parts))
