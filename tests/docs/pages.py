"""The pages, and the snippets in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
_FENCE = re.compile(
    r'^(?P<in> *)```(?P<kind>\w*)(?: title="(?P<title>[^"\n]+)")?\n(?P<text>.*?)^(?P=in)```$',
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Snippet:
    """A fenced block: where it begins (``page:line``), its language, its text without the fence's indent.

    ``title`` is the file that it is, or is a part of; empty where it is none.
    """

    place: str
    kind: str
    text: str
    title: str = ""


def snippets(*kinds: str) -> list[Snippet]:
    """Return every block of these languages on every page."""
    return [snippet for page in PAGES for snippet in _on(page) if snippet.kind in kinds]


def words_in_backquotes() -> list[tuple[str, str]]:
    """Return page and text of everything that running text quotes as code."""
    return [
        (str(page.relative_to(ROOT)), word)
        for page in PAGES
        for word in re.findall(r"`[^`\n]+`", _FENCE.sub("", page.read_text(encoding="utf-8")))
    ]


def _on(page: Path) -> list[Snippet]:
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT)
    return [
        Snippet(
            f"{name}:{text.count(chr(10), 0, found.start()) + 1}",
            found["kind"],
            re.sub(rf"(?m)^{found['in']}", "", found["text"]),
            found["title"] or "",
        )
        for found in _FENCE.finditer(text)
    ]
