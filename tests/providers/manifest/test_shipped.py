"""What holds for every provider holds for the APIs that shipped manifests read."""

import pytest

from exporter.providers.manifest import loader
from exporter.simulator import MANIFEST_SIMULATORS
from tests.providers.compliance import Compliance
from tests.providers.manifest.cases import CASES


class TestShipped(Compliance):
    @pytest.fixture(autouse=True, params=sorted(CASES))
    def _of(self, request: pytest.FixtureRequest) -> None:
        type(self).case = CASES[request.param]


def test_every_shipped_manifest_has_a_simulator_and_a_case() -> None:
    assert loader.shipped() == sorted(MANIFEST_SIMULATORS) == sorted(CASES)
