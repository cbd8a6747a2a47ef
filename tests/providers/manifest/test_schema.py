"""The JSON schema for editors is current, and takes every manifest of this repository."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from scripts.manifest_schema import FILE, schema
from tests.docs.pages import ROOT
from tests.providers.manifest.test_language import FILES

SCHEMA = json.loads((ROOT / FILE).read_text("utf-8"))


def test_the_schema_is_current() -> None:
    assert schema() == SCHEMA, "run scripts/manifest-schema"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_the_schema_takes_a_manifest_and_no_unknown_key(path: Path) -> None:
    document = yaml.safe_load(path.read_text("utf-8"))

    jsonschema.validate(document, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"question": {}}, SCHEMA)
