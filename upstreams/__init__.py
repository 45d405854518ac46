"""Upstreams: one file each, whose name is the plug-in's; folders hold what several share."""

FULL_SIZE = "daisy.base"  # adaptive, of published size: what `speed` times when nothing is named
