"""Figures of the DAISY paper, drawn from the files of a results folder.

A module draws one figure and holds three names: `NAME`, of its files; `frame(results, options)`,
what is to be drawn, as a table read from the results folder; and `draw(frame)`, a matplotlib figure
that shows that table and nothing else. `style.py` has what they share; the verb
(`benchmark/commands/figure.py`) writes the table and draws what it wrote.
"""
