"""What the pages tell the reader to write and to type is right."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from exporter.cli import main
from exporter.config import loads
from exporter.exposition import catalogue
from exporter.exposition.backfill.remote_write import ReceiverOptions
from exporter.providers import PROVIDERS
from exporter.providers.manifest import loader as manifests
from tests.docs.pages import PAGES, ROOT, Snippet, snippets, words_in_backquotes
from tests.packaging.programs import needed, said

TARGET = {"name": "a", "provider": "flowxo", "api_key": {"env": "K"}, "project": "p"}
MANIFEST = {
    "manifest": 1,
    "name": "a",
    "title": "A",
    "base_url": "https://a.example",
    "auth": {"kind": "none"},
    "queries": {
        "q": {
            "shape": "records",
            "request": {"path": "/", "params": {"s": "window.start|iso", "e": "window.end|iso"}},
            "rows": ["[] as row"],
            "id": "row.id",
            "at": "row.at|iso",
            "count": {"chatbot_conversations_started_total": {}},
        }
    },
}
OF_SETTINGS = {
    "version", "web", "ledger", "defaults", "targets", "limits", "privacy", "allow_inline_secrets",
}  # fmt: skip
OF_VALUES = json.loads(
    (ROOT / "deploy/helm/chatbot-exporter/values.schema.json").read_text(encoding="utf-8")
)
OF_THE_WEB = {"tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"}
YAML = snippets("yaml")
SHELL = snippets("sh", "bash", "shell")
MAKE = {*re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"))}
COMMAND = re.compile(
    r"(?:^|[ /(`])chatbot-exporter ((?:[a-z][a-z-]*)(?: [^`\n#|]*)?)", re.MULTILINE
)


def named(snippet: Snippet) -> str:
    return snippet.place


def settings_of(snippet: Snippet) -> dict[str, Any] | None:
    """Return the snippet as a whole ``exporter.yaml``; None if it is something else."""
    read: Any = yaml.safe_load(snippet.text)
    if isinstance(read, list):
        return {"version": 1, "targets": read} if "provider" in read[0] else None
    if read.keys() == {"api_key"}:
        return {"version": 1, "targets": [TARGET | read]}
    if read.keys() & {"version", "targets", "ledger"} and read.keys() <= OF_SETTINGS:
        return {"version": 1, "targets": [TARGET], **read}
    return None


def load(document: dict[str, Any], folder: Path) -> None:
    text = yaml.safe_dump(document, sort_keys=False)
    text = re.sub(r"file: /\S+", f"file: {folder / 'key'}", text)
    (folder / "key").write_text("k\n", encoding="utf-8")
    environment = dict.fromkeys(re.findall(r"env: (\w+)", text), "a:b")
    options = {name: kind.options for name, kind in PROVIDERS.items()}
    loads(text, options, environment, file="snippet", families=catalogue.capped(PROVIDERS))


@pytest.mark.parametrize("snippet", YAML, ids=named)
def test_a_settings_snippet_is_taken(snippet: Snippet, tmp_path: Path) -> None:
    read = yaml.safe_load(snippet.text)
    document = settings_of(snippet)
    if document and "./parrot.yaml" in snippet.text:
        return  # test_tutorials.py reads it, with the file that it names
    if document:
        load(document, tmp_path)
    elif "manifest" in read:
        manifests.loads(snippet.text.encode())
    elif read.keys() == {"families"}:
        manifests.loads(yaml.safe_dump(MANIFEST | read).encode())
    elif read.keys() & {"keysSecret", "demo"}:
        jsonschema.validate(read, OF_VALUES)
        load({"version": 1} | read["config"], tmp_path)
    elif "scrape_configs" in read:
        check_with_promtool(snippet, tmp_path)
    elif not read.keys() <= OF_THE_WEB:  # say here if it is another kind of file
        ReceiverOptions.model_validate(read)


def test_every_snippet_and_file_gives_the_scrape_job_the_same_name() -> None:
    files = [path for name in ("dashboards", "deploy") for path in (ROOT / name).rglob("*.y*ml")]
    named = re.compile(r"job_name: *\W?([\w-]+)|targetLabel: job, replacement: ([\w-]+)")
    jobs = {
        (str(path.relative_to(ROOT)), "".join(found))
        for path in (*PAGES, *files)
        for found in named.findall(path.read_text("utf-8"))
    }

    assert len({place for place, _ in jobs}) >= 5
    assert {name for _, name in jobs} == {"chatbot-exporter", "prometheus"}, jobs


def check_with_promtool(snippet: Snippet, folder: Path) -> None:
    (folder / "prometheus.yml").write_text(snippet.text, encoding="utf-8")
    (folder / "dashboards").symlink_to(ROOT / "dashboards")
    said(needed("promtool", "make tools"), "check", "config", folder / "prometheus.yml")


@pytest.mark.parametrize("snippet", SHELL, ids=named)
def test_a_shell_snippet_is_well_formed_and_names_what_exists(snippet: Snippet) -> None:
    named_here = re.findall(
        r"(?<![\w/.])(?:scripts|deploy|dashboards|tests)/[\w./-]+", snippet.text
    )

    assert said("sh", "-n", "-c", snippet.text) == ""
    assert [path for path in named_here if not (ROOT / path).exists() and not written(path)] == []
    assert {*re.findall(r"(?m)^make ([a-z]+)", snippet.text)} <= MAKE


def written(path: str) -> bool:
    """Return whether the page has the reader write the file, or one in that folder."""
    titles = (snippet.title for snippet in snippets("python", "markdown"))
    return path.startswith(COPIES) or any(title.startswith(path) for title in titles if title)


COPIES = ("deploy/compose/exporter.yaml", "deploy/compose/keys.env")


def commands() -> list[tuple[str, str]]:
    """Return place and words after the program's name, of every command on the pages."""
    texts = [(each.place, each.text) for each in snippets("sh", "bash", "shell", "")]
    texts += words_in_backquotes()
    return sorted(
        {(place, line.strip()) for place, text in texts for line in COMMAND.findall(text)}
    )


def is_a_call(line: str) -> bool:
    """Return whether the line is a command to type, not a form of one with capital words."""
    return not re.search(r"[A-Z\[…]", re.sub(r"'[^']*'", "", line))


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_on_a_page_exists_with_its_options(page: str, line: str) -> None:
    name, *arguments = shlex.split(line)
    command = main.get_command(click.Context(main), name)
    assert command, f"{page}: chatbot-exporter {name}"

    assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0
    if isinstance(command, click.Group) and arguments:
        found = command.get_command(click.Context(command), arguments.pop(0))
        assert found, f"{page}: chatbot-exporter {line}"
        command = found
    used = {word.split("=")[0] for word in arguments if word.startswith("--")}
    known = {name for each in command.params for name in each.opts} | {"--help"}
    assert used <= known, page
    if is_a_call(line):
        command.make_parser(click.Context(command)).parse_args(list(arguments))


@pytest.mark.parametrize("way", ["Import by hand", "Provisioning", "ConfigMap"])
def test_dashboards_come_to_grafana_step_by_step(way: str) -> None:
    page = (ROOT / "docs/dashboards.md").read_text("utf-8")
    section = page.partition(f"\n## {way}\n")[2].partition("\n## ")[0]
    steps = re.findall(r"^(\d)\. ", section, re.MULTILINE)

    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert len(steps) > 1
    assert "```sh\n" in section


ENDS = ("check-config", "metrics", "plan")
"""Commands that call nobody and end by themselves; the others are started in tests/e2e."""
TYPED = sorted(
    {line for _, line in commands() if line.split()[0] in ENDS and is_a_call(line)}
    - {"check-config --probe"}  # which calls vendors, and is tried in tests/cli
)


@pytest.mark.parametrize("line", TYPED)
def test_a_command_on_a_page_that_ends_by_itself_is_good(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_example(tmp_path, monkeypatch)

    done = CliRunner().invoke(main, shlex.split(line))

    assert (done.exit_code, done.stderr) == (0, "")


def with_example(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a folder with the example of settings, all its variables set."""
    example = (ROOT / "exporter.yaml").read_text("utf-8")
    (folder / "exporter.yaml").write_text(example, encoding="utf-8")
    monkeypatch.chdir(folder)
    for name in re.findall(r"env: (\w+)", example):
        monkeypatch.setenv(name, "a:b")


def test_every_command_is_on_a_page() -> None:
    assert {line.split()[0] for _, line in commands()} == main.commands.keys()


def test_the_plan_of_the_page_is_the_plan_of_the_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_example(tmp_path, monkeypatch)
    shown = next(each for each in snippets("") if each.place.startswith("docs/plan.md"))

    plan = CliRunner().invoke(main, ["plan"]).stdout

    told = [line.split() for line in plan.splitlines()]
    assert [line for line in shown.text.splitlines() if line.split() not in told] == []
