"""Upstreams: one file each, the file name is the plug-in name; files with a leading underscore are shared."""
