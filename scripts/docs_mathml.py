"""A hook of mkdocs: formulas become MathML while pages are built.

Browsers draw MathML themselves, so that pages need no script and no fonts from elsewhere.
"""

import html
import logging
import re
from typing import Any

from latex2mathml.converter import convert

LOG = logging.getLogger("mkdocs.hooks.mathml")
# What pymdownx.arithmatex leaves, with `generic: true`.
FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\\(?:\((?P<inline>.*?)\\\)|\[(?P<block>.*?)\\\])</\1>',
    re.DOTALL,
)


def on_post_page(output: str, *, page: Any, config: Any) -> str:
    """Called by mkdocs with the finished HTML of a page."""

    def to_mathml(found: re.Match[str]) -> str:
        display = "inline" if found["block"] is None else "block"
        latex = html.unescape(found["inline"] if found["block"] is None else found["block"]).strip()
        # Two commands that the converter does not know together.
        latex = latex.replace(r"\arg\max", r"\operatorname{arg\,max}")
        try:
            mathml = convert(latex, display=display)
        except Exception as error:
            # In a strict build a warning is a failure, and names the page.
            LOG.warning("%s: cannot convert the formula %s: %r", page.file.src_path, latex, error)
            return found[0]
        if "\\" in mathml:
            LOG.warning("%s: unknown command in the formula %s", page.file.src_path, latex)
        return mathml

    return FORMULA.sub(to_mathml, output)
