"""Word n-grams of a few sentences, as ARPA files."""

import math
from collections import Counter
from itertools import chain, pairwise

SENTENCES = ["THE CAT SAT ON THE MAT", "A DOG AND A CAT", "IT'S ME", "SEE THE SEA", "THE SEA"]


def bigrams(sentences=SENTENCES, kept=0.8):
    """An ARPA file's text: bigrams by their counts, a share of `kept`, else unigrams."""
    marked = [("<s>", *sentence.split(), "</s>") for sentence in sentences]
    one = Counter(chain.from_iterable(words[1:] for words in marked))
    two = Counter(chain.from_iterable(map(pairwise, marked)))
    before = Counter(chain.from_iterable(words[:-1] for words in marked))
    total = sum(one.values()) + 1  # and one unknown word
    back = math.log10(1 - kept)
    lines = ["\\data\\", f"ngram 1={len(one) + 2}", f"ngram 2={len(two)}", "", "\\1-grams:"]
    lines += [f"{math.log10(1 / total):.6f}\t<unk>", f"-99\t<s>\t{back:.6f}"]
    for word, count in one.items():
        lines.append(f"{math.log10(count / total):.6f}\t{word}\t{back:.6f}")
    lines += ["", "\\2-grams:"]
    for (first, second), count in two.items():
        lines.append(f"{math.log10(kept * count / before[first]):.6f}\t{first} {second}")
    return "\n".join([*lines, "", "\\end\\", ""])


def write(path, sentences=SENTENCES):
    path.write_text(bigrams(sentences), encoding="utf-8")
    return str(path)
