"""Asserts in what the tests share explain themselves when they fail."""

import pytest

pytest.register_assert_rewrite("tests.e2e.processes")
