"""How many examples a property tries: a number in CI, ten times that on demand."""

from hypothesis import settings


def examples(number: int) -> settings:
    """Return settings for ``number`` examples, scaled by the profile in force."""
    plain = settings()
    return settings(plain, max_examples=number * plain.max_examples // 100)
