"""The commands of docs/training.md have the settings that the cards of the shipped weights name,
and so have the presets that shipped recognisers were trained by."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path

import pages
import pytest
from earlyexit_superb.benchmark.engine import training_record, training_start
from earlyexit_superb.benchmark.registry import build_upstream

COMMANDS = [
    words
    for block in pages.blocks("docs/training.md")
    for words in map(shlex.split, block.commands)
    if {"second", "third", "fourth", "fifth", "sixth", "seventh"} & set(words) and "train" in words
]
FILES = ("warm", "units_from")  # a card has their names, a command where they lie


def card_of(name):
    return json.loads((pages.ROOT / "upstreams" / f"{name}.json").read_text())


def cards():
    """In the order of the commands: first made, first."""
    chain = [card_of("hubert.tiny")]
    while chain[0].get("warm_from"):
        chain.insert(0, chain[0]["warm_from"])
    return [*chain, card_of("daisy.tiny")]


def test_every_training_has_its_command():
    assert len(COMMANDS) == len(cards()) == 7


@pytest.mark.parametrize("step", range(7))
def test_a_command_gives_the_recipe_of_its_card(step):
    words, card = COMMANDS[step], cards()[step]
    spec = words[words.index("train") + 1]
    given = words[words.index("--set") + 1 :] if "--set" in words else []
    config = training_start.TrainingConfig(
        spec, Path(), settings=dict(text.split("=") for text in given)
    )
    plugin, training = training_start.trainable(spec)
    preset = training.presets[training_start.preset_of(spec)]
    recipe = asdict(training_start._sorted_settings(config, plugin, preset)[0])
    recipe |= {name: Path(recipe[name]).name for name in FILES if name in recipe}
    # older cards lack the fields that came later
    told = {name: value for name, value in card["recipe"].items() if name != "source"}
    assert {name: recipe[name] for name in told} == told


@pytest.mark.parametrize("name", ["conformer_ctc.tiny", "conformer_aed.tiny"])
def test_a_shipped_recogniser_is_what_its_preset_gives(name):
    card = card_of(name)
    preset = training_start.trainable(name)[1].presets[training_start.preset_of(name)]
    told = json.loads(json.dumps(asdict(preset)))
    # of fields that came later the usual values, as they were then
    since = json.loads(json.dumps(training_record.usual(preset)))
    assert {**since, **card["recipe"], "source": ""} == {**told, "source": ""}
    assert (pages.ROOT / "upstreams" / f"{name}.safetensors").stat().st_size < 4_000_000
    built = build_upstream(name)
    assert (built.card.revision, built.card.name) == (card["revision"], name)
    assert built.card.tuned_on == card["tuned_on"] and built.card.tasks == ("asr",)
