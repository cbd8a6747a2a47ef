"""How hard the properties try: ``HYPOTHESIS_PROFILE=thorough`` runs ten times the examples."""

import os

from hypothesis import HealthCheck, settings

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile("usual", deadline=None, suppress_health_check=QUIET)
settings.register_profile(
    "thorough", deadline=None, max_examples=1_000, suppress_health_check=QUIET
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "usual"))
