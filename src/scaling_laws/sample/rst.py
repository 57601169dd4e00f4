"""reStructuredText to HTML, as far as the prose of documentation needs it.

The documents are written for Sphinx with extensions of their own, which plain docutils reports as
errors in the text. What has no prose is dropped: comments,
tables of contents, images, generated references.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape, unescape
from itertools import pairwise

ADORNMENT = re.compile(r"([=\-~^\"'`#*+.:_<>])\1{2,}\s*")
DIRECTIVE = re.compile(r"\.\. +(?:\|[^|]+\| +)?([\w:.+-]+?):: *(.*)")
ITEM = re.compile(r"(?:[*+-]|\(?(?:\d+|#|[a-zA-Z])[.)])(?: +|$)")
FIELD = re.compile(r":[\w -]+:(?: .*)?")

PROSE = {
    "admonition", "attention", "caution", "danger", "deprecated", "hint", "important", "note",
    "seealso", "tip", "topic", "versionadded", "versionchanged", "warning", "epigraph", "rubric",
    "deprecated-removed", "container", "console",
}  # fmt: skip
CODE = {"code", "code-block", "sourcecode", "parsed-literal", "snippet", "literalinclude"}
OBJECTS = {
    "attribute", "class", "classmethod", "conf_log", "conf_master", "conf_minion", "conf_proxy",
    "data", "describe", "django-admin", "django-admin-option", "envvar", "exception",
    "fieldlookup", "function", "method", "option", "setting", "staticmethod", "templatefilter",
    "templatetag",
}  # fmt: skip


def title(source: str) -> str:
    """Return the first section title of a document as plain text, or the empty string."""
    lines = source.splitlines()
    for above, below in pairwise(lines):
        if above.strip() and not ADORNMENT.fullmatch(above) and ADORNMENT.fullmatch(below):
            return unescape(re.sub(r"<[^>]*>", "", inline(above.strip())))
    return ""


def html(source: str) -> str:
    """Return the body of a document as HTML."""
    return "\n".join(_blocks(source.expandtabs(8).splitlines()))


def _blocks(lines: list[str]) -> Iterator[str]:
    at = 0
    while at < len(lines):
        line = lines[at]
        below = lines[at + 1] if at + 1 < len(lines) else ""
        if not line.strip():
            at += 1
        elif ADORNMENT.fullmatch(line) and below.strip():
            at += 1  # the line above a title
        elif line.startswith(".. ") or line.rstrip() == "..":
            block, at = _indented(lines, at + 1)
            yield from _explicit(line.rstrip(), block)
        elif ADORNMENT.fullmatch(below) and not line.startswith(" "):
            yield f"<h2>{inline(line.strip())}</h2>"
            at += 2
        elif line.startswith(" "):
            block, at = _indented(lines, at)
            yield "<blockquote>"
            yield from _blocks(block)
            yield "</blockquote>"
        elif FIELD.fullmatch(line):
            _, at = _indented(lines, at + 1)
        elif item := ITEM.match(line):
            block, at = _indented(lines, at + 1)
            yield "<li>"
            yield from _blocks([line[item.end() :], *block])
            yield "</li>"
        elif re.match(r"[+=]", line) or line.startswith("|"):
            text, at = _paragraph(lines, at)  # a table or a line block: its cells, without rules
            yield f"<p>{inline(re.sub(r'[+=|-]{2,}|[|+]', ' ', text))}</p>"
        else:
            text, at = _paragraph(lines, at)
            literal = text.endswith("::")
            yield f"<p>{inline(text.removesuffix('::') + ':' if literal else text)}</p>"
            if literal:
                block, at = _indented(lines, at)
                yield _literal(block)


def _explicit(line: str, block: list[str]) -> Iterator[str]:
    """Yield what a directive shows; a comment, a target and an unknown directive show nothing."""
    match = DIRECTIVE.fullmatch(line)
    if not match:
        return
    name, argument = match[1].rpartition(":")[2].lower(), match[2]
    while block and FIELD.fullmatch(block[0].strip()):
        block = block[1:]
    if name in CODE:
        yield _literal(block)
    elif name in OBJECTS:
        yield f"<p><code>{escape(argument)}</code></p>"
        yield from _blocks(block)
    elif name in PROSE:
        yield from _blocks([argument, *block])


def _literal(block: list[str]) -> str:
    text = "\n".join(block).strip("\n")
    return f"<pre>{escape(text, quote=False)}</pre>"


def _indented(lines: list[str], at: int) -> tuple[list[str], int]:
    """Return the indented block from line `at` on, without its indentation, and where it ends."""
    end = at
    while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" ")):
        end += 1
    block = lines[at:end]
    width = min((len(line) - len(line.lstrip()) for line in block if line.strip()), default=0)
    return [line[width:] for line in block], end


def _paragraph(lines: list[str], at: int) -> tuple[str, int]:
    end = at
    while end < len(lines) and lines[end].strip():
        end += 1
        if lines[end - 1].rstrip().endswith("::"):
            break
    return " ".join(line.strip() for line in lines[at:end]), end


def inline(text: str) -> str:
    """Return a line of text with its inline markup as HTML."""
    text = escape(text, quote=False)
    text = re.sub(r"``(.+?)``", r"<code>\1</code>", text)
    text = re.sub(r":[\w:+.-]+:`([^`]+)`", lambda match: _reference(match[1]), text)
    text = re.sub(r"`([^`]+)`_{0,2}", lambda match: _reference(match[1]), text)
    text = re.sub(r"\*\*(\S.*?)\*\*", r"<strong>\1</strong>", text)
    text = re.sub(r"(?<![\w*])\*(\S[^*]*?)\*(?![\w*])", r"<em>\1</em>", text)
    return re.sub(r"(?<=\w)_(?=\W|$)", "", text).replace("\\", "")


def _reference(text: str) -> str:
    """Return the text of a reference: what stands before its target, or the target's last part."""
    shown, target = re.fullmatch(r"(.*?)(?:\s*&lt;(.*)&gt;)?", text, re.S).groups()  # type: ignore[union-attr]
    if not shown:
        return str(target)
    if target and re.match(r"https?://", target):
        return f'<a href="{escape(target)}">{shown}</a>'
    return shown.rpartition(".")[2] if shown.startswith("~") else shown.lstrip("!")
