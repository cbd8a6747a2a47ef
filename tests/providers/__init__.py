"""Tests of the providers; the shared suite's assertions explain themselves when they fail."""

import pytest

pytest.register_assert_rewrite("tests.providers.compliance")
