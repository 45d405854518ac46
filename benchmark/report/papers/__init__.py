"""Tables and figures of publications, a file each paper: values, which the verb `paper` makes."""

from . import early_exit_asr, hubert_ee, zaiem

PAPERS = {paper.name: paper for paper in (hubert_ee.PAPER, early_exit_asr.PAPER, zaiem.PAPER)}
