"""Upstreams: one file each, the file name is the plug-in name; files with a leading
underscore are shared.
"""

FULL_SIZE = "daisy.base"  # adaptive, of published size: what `speed` times when nothing is named
