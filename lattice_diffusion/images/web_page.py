"""Elements of a static HTML page: every text escaped, figures inside, no script, no network.

The page's own policy (Content-Security-Policy) forbids all that it does not need.
"""

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1180px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem; margin-bottom: 0 } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd }
.sub { color: #666; margin-top: .2rem } img { max-width: 100% } .scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; margin: .8rem 0 }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e5e5e5; white-space: nowrap }
th { border-bottom: 2px solid #888; font-weight: 600 } td.text, th.text { text-align: left; white-space: normal }
td.zero { color: #999 } .lead li { margin: .3rem 0 } .warn { background: #fff3cd; padding: .5rem .8rem }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: 12px }
"""


def document(title: str, subtitle: str, body: str) -> str:
    """The whole page; `body` is HTML, title and subtitle are text."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="sub">{escape(subtitle)}</p>\n{body}\n</body></html>\n'
    )


def escape(text: object) -> str:
    """Text of any file as HTML that shows it and does nothing else."""
    return html.escape(str(text), quote=True)


def section(title: str, *parts: str) -> str:
    """A heading and what is below it, HTML."""
    return f"<h2>{escape(title)}</h2>\n" + "\n".join(parts)


def table(header: Sequence[str], lines: Iterable[Sequence[object]], text: Sequence[int] = ()) -> str:
    """Cells are escaped; columns in `text` are set flush left; a cell (text, class) has a class."""

    def cell(tag: str, column: int, value: object) -> str:
        content, kind = value if isinstance(value, tuple) else (value, "")
        kind = "text" if column in text else kind
        return f"<{tag}{f' class={escape(kind)}' if kind else ''}>{escape(content)}</{tag}>"

    def line(tag: str, values: Sequence[object]) -> str:
        return "<tr>" + "".join(cell(tag, i, value) for i, value in enumerate(values)) + "</tr>"

    head = [line("th", header)] if header else []
    rows = "\n".join([*head, *(line("td", values) for values in lines)])
    return f'<div class="scroll"><table>\n{rows}\n</table></div>'


def image(figure: Any, alternative: str) -> str:
    """A matplotlib figure as a picture in the page; the figure is released."""
    import matplotlib.pyplot as plt

    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130, bbox_inches="tight")
    plt.close(figure)
    code = base64.b64encode(picture.getvalue()).decode()
    return f'<p><img alt="{escape(alternative)}" src="data:image/png;base64,{code}"></p>'
