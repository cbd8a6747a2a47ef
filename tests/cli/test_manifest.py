"""The command ``manifest``: what it lists, what it refuses, and how."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from exporter.cli import main
from exporter.providers.manifest import loader
from tests.providers.manifest.files import SENT, THREE, written


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["manifest", *arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "acme.yaml").write_bytes(written())
    (tmp_path / "a.json").write_text(json.dumps(THREE))
    (tmp_path / "b.json").write_text(json.dumps({"data": [{"time": "soon", "sent": 1}]}))
    return tmp_path


def test_the_list_has_every_shipped_manifest_and_how_sure_it_is() -> None:
    lines = invoke("list").stdout.splitlines()

    assert [line.split()[0] for line in lines[1:]] == loader.shipped()
    assert all(line.split()[-1] in ("verified", "documented", "inferred") for line in lines[1:])


@pytest.mark.parametrize("name", loader.shipped())
def test_a_shipped_manifest_has_no_error(name: str) -> None:
    assert invoke("check", name).exit_code == 0


def test_a_wrong_manifest_is_refused_with_positions(folder: Path) -> None:
    (folder / "acme.yaml").write_bytes(written({"at": "row.time", "shape": "bucket"}))

    done = invoke("check", str(folder / "acme.yaml"))

    assert done.exit_code == 2
    assert "acme.yaml:" in done.stderr
    assert 'expected buckets, range or records; did you mean "buckets"?' in done.stderr


def tried(folder: Path, answer: str, *more: str) -> Result:
    at = ("--at", "2026-03-03T11:59:00Z")
    return invoke("test", str(folder / "acme.yaml"), "--answer", str(folder / answer), *at, *more)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("a.json", "a bucket is missing from the answer"),
        ("b.json", "refused: row.time|epoch_s: expected an instant in the form of epoch_s"),
    ],
)
def test_a_refused_answer_is_named_after_its_request(folder: Path, answer: str, why: str) -> None:
    done = tried(folder, answer)

    assert (done.exit_code, why in done.stderr) == (1, True), done.stderr
    assert "GET https://api.acme.example/v1/v1/stats?from=" in done.stdout


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        (
            {"pages": {"kind": "cursor", "from": "nextpage", "send": "page"}},
            "answer 2 was not requested: pages.from (nextpage) is not in the last answer",
        ),
        (
            {"labels": {"channel": "row.chan"}},
            "refused: labels.channel: row.chan is absent in all 3 rows; check the path",
        ),
        (
            {"count": {SENT: {"value": "row.sant"}}},
            f"refused: row.sant is absent in all 3 rows, so {SENT} cannot begin; check the path",
        ),
        (
            {"pages": {"kind": "page", "send": "p"}},
            "request 3 was sent, but there is no --answer for it",
        ),
        (
            {"window": {"end": "exclusive", "max_span": "48h"}},
            "no --answer for it; a poll has several windows, because lookback and a bucket do not",
        ),
    ],
)
def test_what_run_would_refuse_is_refused(
    folder: Path, query: dict[str, Any], problem: str
) -> None:
    (folder / "acme.yaml").write_bytes(written(query | {"missing": "zero"}))
    (folder / "c.json").write_text(json.dumps({"data": THREE["data"], "page": 2}))

    done = tried(
        folder,
        "a.json",
        *(() if query.keys() & {"labels", "window"} else ("--answer", f"{folder}/c.json")),
    )

    assert done.exit_code == 1
    assert problem in done.stderr


def test_the_request_for_a_token_needs_no_answer(folder: Path) -> None:
    auth = {"kind": "oauth2_client_credentials", "token_url": "/token", "client_id": "me"}
    auth |= {"client_secret": "secrets.key"}
    (folder / "acme.yaml").write_bytes(written({"missing": "zero"}, auth=auth))

    done = tried(folder, "a.json")

    assert done.exit_code == 0, done.stderr
    token, form, query = done.stdout.splitlines()[1:4]
    assert token == "  POST https://api.acme.example/v1/token"
    assert form.endswith("client_secret=secrets.key")
    assert query.startswith("  GET https://api.acme.example/v1/v1/stats?from=")


def test_a_query_of_a_loop_is_tried_alone(folder: Path) -> None:
    loop: dict[str, Any] = {"for_each": {"bot": ["a", "b"]}, "missing": "zero"}
    loop["labels"] = {"channel": "each.bot"}
    params = {"from": "window.start|iso", "to": "window.end|iso", "bot": "each.bot"}
    (folder / "acme.yaml").write_bytes(
        written(loop | {"request": {"path": "/x", "params": params}})
    )

    for named, bot in (("stats", "a"), ("stats/b", "b")):
        done = tried(folder, "a.json", "--query", named)
        assert done.stdout.startswith(f"Query: stats/{bot}; for_each makes 1 more\n")
        assert f"&bot={bot}\n" in done.stdout
    wrong = tried(folder, "a.json", "--query", "stats/c")
    assert (wrong.exit_code, "expected one of stats/a, stats/b" in wrong.stderr) == (2, True)


def test_all_samples_are_printed_on_demand(folder: Path) -> None:
    rows = {"data": [{"time": 1_772_539_200 - 3600 * hour, "sent": 1} for hour in range(1, 46)]}
    (folder / "acme.yaml").write_bytes(written({"missing": "zero"}))
    (folder / "a.json").write_text(json.dumps(rows))

    assert "  and 5 more; --all prints them\n" in tried(folder, "a.json").stdout
    assert tried(folder, "a.json", "--all").stdout.count(SENT) == 45


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (("--at", "soon"), "expected a time such as"),
        (("--query", "stat"), "the manifest has no query stat"),
        (("--variable", "x=1"), "the manifest has no variable x"),
    ],
)
def test_wrong_usage_is_named(folder: Path, more: tuple[str, str], problem: str) -> None:
    done, unknown = tried(folder, "a.json", *more), invoke("check", "opanai")

    assert (done.exit_code, problem in done.stderr) == (2, True)
    assert 'did you mean "openai"?; a path has a slash or ends in .yaml' in unknown.stderr
