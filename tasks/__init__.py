"""Tasks: one file each registers one frozen Task: data, head, loss, score, recipes.

corpora/   where a corpus is read: the door is `open_corpus`
shared/    what several tasks use: CTC text and decoding, spectra, masks
"""
