"""One board per shipped manifest, built from the families that its queries feed."""

from collections.abc import Iterator

from dashboards.source import engagement, promql
from dashboards.source.dashboard import DashboardPage, Row, Variable
from dashboards.source.panels import Caption, Curve, Panel, graph, text_panel
from exporter.model.families import NORMALISED
from exporter.model.samples import Family, MetricType
from exporter.providers.manifest import loader
from exporter.providers.manifest.loader import LoadedManifest
from exporter.providers.manifest.program import CompiledQuery

NARROW = 8


def boards() -> Iterator[DashboardPage]:
    """Yield the board of every shipped manifest."""
    for name in loader.shipped():
        yield board(loader.load(loader.find(name, loader.SHIPPED)))


def board(manifest: LoadedManifest) -> DashboardPage:
    """Return the board of one manifest, with a row for each of its queries."""
    name, title = manifest.settings.name, manifest.settings.title
    accounts = promql.targets(name)
    return DashboardPage(
        uid=f"chatbot-{name}",
        title=f"Chatbots: {title}",
        description=f"All metrics that the exporter reads from {title} with a manifest.",
        variables=variables(f'provider="{name}"'),
        rows=(
            Row("Now", (engagement.age(accounts), engagement.late(accounts))),
            *(
                Row(query.settings.description or key, list(_panels(manifest, query)))
                for key, query in manifest.queries.items()
            ),
            Row("About this dashboard", (_about(manifest),)),
        ),
        alerts=f'ALERTS{{alertstate="firing",alertname=~"Chatbot.*",{accounts}}}',
        tags=("provider",),
    )


def variables(provider: str, family: str = "chatbot_.+") -> tuple[Variable, ...]:
    """Return the accounts that match ``provider``, and their projects."""
    info = f"chatbot_exporter_target_info{{{provider}}}"
    named = f'{{__name__=~"{family}",{provider},target=~"$target"}}'
    return (
        Variable("target", "Account", f"label_values({info}, target)"),
        Variable("project", "Project", f"label_values({named}, project)", ".*"),
    )


def _panels(manifest: LoadedManifest, query: CompiledQuery) -> Iterator[Panel]:
    families = NORMALISED | {family.name: family for family in manifest.families}
    labels: dict[str, set[str]] = {}
    for feed in query.program.feeds:
        labels.setdefault(feed.family.name, set()).update(feed.labels)
    for name, used in labels.items():
        yield _panel(manifest.settings.name, families[name], used)


def _panel(provider: str, family: Family, used: set[str]) -> Panel:
    by = [label for label in family.labels[2:] if label in used | {"window", "project"}]
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    select = f'{promql.targets(provider)},project=~"$project"'
    counter = family.kind is MetricType.COUNTER
    caption = Caption(
        family.help.rstrip("."),
        f"`{family.name}`. "
        + (
            "Increase over the graph's step (an hour or more), when the API reports it."
            if counter
            else "The newest settled window; never add values up."
        ),
        "currencyUSD" if "_usd_" in family.name else "short",
        "Nothing counted yet" if counter else "No current value, see Data age",
    )
    if counter:
        increase = promql.once(f"increase({family.name}{{{select}}}[$__interval])")
        expr = f"sum by ({', '.join(by)}) ({increase})"
    else:
        expr = f"max by ({', '.join(('job', *by))}) ({family.name}{{{select}}})"
    return graph(caption, (Curve(expr, legend),), width=NARROW)


def _about(manifest: LoadedManifest) -> Panel:
    sure = {"verified": "verified", "documented": "from the documentation", "inferred": "inferred"}
    facts = sure[manifest.settings.facts or "inferred"]
    return text_panel(
        "Definitions",
        f"Values follow the definitions of [the API]({manifest.settings.documentation}). What the "
        f"manifest `{manifest.settings.name}` knows about it is {facts}; see its page in the docs.\n\n"
        "Counters grow when the API reports, even for past hours and days. Days are in UTC.",
    )
