"""A table as LaTeX that compiles as it is, whatever the names in it."""

import pandas as pd

from .escaping import plain

# what LaTeX reads as a command, and what its fonts do not have
ESCAPED = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "†": r"$^\dagger$",
}


def escaped(text: str) -> str:
    return plain(text).translate(str.maketrans(ESCAPED))


def latex(frame: pd.DataFrame, caption: str, label: str) -> str:
    r"""A table* as wide as the page, with booktabs' rules; a rule where the index changes.

    Args:
        frame: text in every cell; columns of one or two levels.
    """
    safe = frame.map(escaped)
    safe.columns = frame.columns.map(
        lambda name: tuple(map(escaped, name)) if isinstance(name, tuple) else escaped(name)
    )
    lines = safe.to_latex(
        index=False, escape=False, column_format="l" * frame.shape[1], multicolumn_format="c"
    ).splitlines()
    first = lines.index(r"\midrule") + 1
    new = [
        n for n, (a, b) in enumerate(zip(frame.index[1:], frame.index, strict=False), 1) if a != b
    ]
    for row in reversed(new):
        lines.insert(first + row, r"\midrule")
    return "\n".join(
        [
            r"% \usepackage{booktabs,graphicx}",
            r"\begin{table*}[t]",
            rf"\caption{{{escaped(caption)}}}",
            rf"\label{{{label}}}",
            r"\resizebox{\textwidth}{!}{%",
            *lines,
            "}",
            r"\end{table*}",
            "",
        ]
    )
