"""Asserts in the bench explain themselves when they fail."""

import pytest

pytest.register_assert_rewrite("tests.faults.bench")
