"""The machine: features recorded, heads trained, utterances scored, costs counted."""
