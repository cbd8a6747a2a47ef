"""The status page: one row a query, made on the server, with nothing fetched from elsewhere."""

import base64
import hashlib
from collections import Counter
from importlib import resources
from typing import Any

import jinja2

from exporter.format import age, span, stamp
from exporter.status import State, Status
from exporter.web.chart import draw

TONES = {
    State.OK: "good",
    State.NEVER_POLLED: "quiet",
    State.THROTTLED: "warn",
    State.QUARANTINED: "warn",
    State.STALLED: "bad",
    State.FAILING: "bad",
    State.CIRCUIT_OPEN: "bad",
}


def _asset(name: str) -> str:
    return resources.files("exporter.web").joinpath("templates", name).read_text("utf-8")


def hash_of(text: str) -> str:
    """Return the source expression that admits the inline style or script ``text``."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("exporter.web"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters |= {"age": age, "span": span, "stamp": stamp}
STYLE = _asset("status.css")
_SCRIPT = _asset("status.js")
POLICY = (
    f"default-src 'none'; style-src {hash_of(STYLE)}; script-src {hash_of(_SCRIPT)}; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's content security policy: its own style and script, by hash, and nothing else."""


def filled(template: str, **parts: Any) -> str:
    """Return a page: ``template`` with ``parts`` and the style of all."""
    return TEMPLATES.get_template(template).render(style=STYLE, **parts)


def render(status: Status, *, target: str | None = None) -> str | None:
    """Return the page of all targets, or of one with its recent polls; None for an unknown one."""
    targets = [each for each in status.targets if target in (None, each.name)]
    if target is not None and not targets:
        return None
    rows = [(each, query) for each in targets for query in each.queries]
    counts = Counter(query.state for _, query in rows)
    return filled(
        "status.html",
        status=status,
        now=status.now_ms,
        target=target,
        rows=rows,
        tones=TONES,
        draw=draw,
        counts=[(state, counts[state], TONES[state]) for state in State if counts[state]],
        script=_SCRIPT,
    )
