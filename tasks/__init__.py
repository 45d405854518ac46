"""Tasks: one file each = data + head + loss + score + the published recipe; files with a leading
underscore are shared.
"""
