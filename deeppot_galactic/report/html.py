"""Small pieces of HTML: every text that comes from a run passes through `escape`."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

from .diagnostics import Flag
from .figures import Panel


def document(title: str, css: str, body: str) -> str:
    """A complete page with its style sheet inside."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{escape(title)}</title><style>{css}</style>"
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def card(name: str, value: str, unit: str = "", remark: str = "") -> str:
    """One number in large type."""
    unit_text = f' <span class="unit">{escape(unit)}</span>' if unit else ""
    remark_text = f'<div class="remark">{escape(remark)}</div>' if remark else ""
    return f'<div class="card"><div class="name">{escape(name)}</div><div class="value">{escape(value)}{unit_text}</div>{remark_text}</div>'


def flag_list(flags: Iterable[Flag]) -> str:
    """Warnings and notes."""
    items = (f'<li class="{escape(flag.level)}"><b>{escape(flag.title)}</b><span>{escape(flag.text)}</span></li>' for flag in flags)
    return f'<ul class="flags">{"".join(items)}</ul>'


def figure(panel: Panel) -> str:
    """A picture, inside the page, with its caption."""
    data = base64.b64encode(panel.path.read_bytes()).decode("ascii")
    image = f'<img alt="{escape(panel.title)}" src="data:image/png;base64,{data}">'
    return (
        f'<figure id="{escape(panel.name)}">{image}<figcaption><h3>{escape(panel.title)}</h3>{escape(panel.caption)}</figcaption></figure>'
    )


def figures(panels: Sequence[Panel]) -> str:
    """Pictures beside one another: three in a row where that leaves no gap, else two; a single one has its caption at its side."""
    columns = " one" if len(panels) == 1 else " three" if len(panels) % 3 == 0 else ""
    return f'<div class="figures{columns}">{"".join(figure(panel) for panel in panels)}</div>'


def table(rows: Iterable[Sequence[str]], *, head: Sequence[str] = (), numbers: Sequence[int] = ()) -> str:
    """A table of text; the columns in ``numbers`` are aligned to the right."""

    def line(tag: str, cells: Sequence[str]) -> str:
        kinds = (' class="number"' if k in numbers else "" for k in range(len(cells)))
        return "<tr>" + "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True)) + "</tr>"

    top = f"<thead>{line('th', head)}</thead>" if head else ""
    body = "".join(line("td", row) for row in rows)
    return f'<div class="scroll"><table>{top}<tbody>{body}</tbody></table></div>'


def box(title: str, content: str) -> str:
    """A white box with a heading."""
    return f'<div class="box"><h3>{escape(title)}</h3>{content}</div>'


def glossary(terms: Iterable[tuple[str, str]]) -> str:
    """Words and what they mean."""
    return f"<dl>{''.join(f'<dt>{escape(term)}</dt><dd>{escape(meaning)}</dd>' for term, meaning in terms)}</dl>"


def preformatted(text: str) -> str:
    """Text as it was written."""
    return f"<pre>{escape(text)}</pre>"


def section(anchor: str, title: str, introduction: str, content: str) -> str:
    """A part of the page."""
    return f'<section id="{anchor}"><h2>{escape(title)}</h2><p>{escape(introduction)}</p>{content}</section>'
