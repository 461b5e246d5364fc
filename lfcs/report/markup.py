"""HTML: a page in light and dark and on paper, tables, and pictures inside the page. Nothing is fetched."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --soft: #5c5c5c; --line: #d6d6d6; --tint: #f3f5f7 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #16181b; --soft: #a3a3a3; --line: #3a3d42; --tint: #202328 }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2.2rem;
  border-bottom: 1px solid var(--line) }
p.lead, figcaption, .soft { color: var(--soft) } figcaption { font-size: .9rem }
figure { margin: 1rem 0 } figure > div { background: #ffffff; padding: .5rem; border: 1px solid var(--line) }
figure svg, figure img { width: 100%; height: auto; display: block }
figure.half { max-width: 34rem }
table { border-collapse: collapse; font-size: .92rem; margin: .8rem 0; display: block; overflow-x: auto }
th, td { padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
td:first-child { white-space: nowrap }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
pre { background: var(--tint); padding: .7rem; white-space: pre-wrap; overflow-wrap: anywhere } code { font-size: .9em }
details { margin: .8rem 0 } summary { cursor: pointer }
@media print {
  :root { --ink: #000000; --paper: #ffffff; --soft: #444444; --line: #bbbbbb; --tint: #f3f5f7 }
  body { margin: 0; max-width: none; font-size: 10pt } figure, tr, pre { break-inside: avoid }
  h2 { break-after: avoid } table { display: table; width: 100% }
}
"""
NUMBER = re.compile(r"[-+−]?[\d,]+(\.\d+)?(e[-+]\d+)?( ± .*| \[.*\]| %)?")


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole page."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    head += f"<style>{STYLE}</style>"
    inside = "\n".join(parts)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n{inside}\n</body></html>\n'


def section(title: str, *parts: str) -> str:
    """Return a section with its heading, nothing where it has no part."""
    inside = "\n".join(part for part in parts if part)
    return f"<section><h2>{escape(title)}</h2>\n{inside}</section>" if inside else ""


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of plain text."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of plain text, numbers to the right."""
    rows = [list(row) for row in rows]
    if not rows:
        return ""
    right = [all(NUMBER.fullmatch(row[i]) or not row[i] for row in rows) for i in range(len(header))]

    def line(kind: str, cells: Sequence[str]) -> str:
        made = (f"<{kind}{' class=n' * n}>{escape(c)}</{kind}>" for c, n in zip(cells, right, strict=True))
        return f"<tr>{''.join(made)}</tr>"

    body = "\n".join(line("td", row) for row in rows)
    return f"<table><thead>{line('th', header)}</thead>\n<tbody>{body}</tbody></table>"


def command(text: str) -> str:
    """Return what is to be typed."""
    return f"<pre><code>{escape(text)}</code></pre>"


def folded(title: str, inside: str) -> str:
    """Return what is to be opened by a click."""
    return f"<details><summary>{escape(title)}</summary>\n{inside}</details>"


def picture(figure: Any, title: str, caption: str, dots: bool = False, half: bool = False) -> str:
    """Return a figure of matplotlib inside the page: lines, or a grid of ``dots`` where lines would be too many."""
    import matplotlib

    file, form = BytesIO(), "png" if dots else "svg"
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": title}):
        given: dict[str, Any] = {"dpi": 220} if dots else {"metadata": {"Date": None, "Creator": None}}
        figure.savefig(file, format=form, facecolor="white", **given)
    data = base64.b64encode(file.getvalue()).decode()
    kind = "image/png" if dots else "image/svg+xml"
    shown = f'<img alt="{escape(title)}" src="data:{kind};base64,{data}">'
    size = ' class="half"' if half else ""
    return f"<figure{size}><div>{shown}</div><figcaption>{escape(caption)}</figcaption></figure>"
