"""What all tests share: how many random cases a property gets.

The default profile fits the whole suite into a few minutes. For ten times as many cases::

    HYPOTHESIS_PROFILE=thorough python -m pytest
"""

import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings

_common: Any = {
    "deadline": None,  # a shared machine is sometimes slow, and tests assert no timings
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("default", max_examples=25, **_common)
settings.register_profile("thorough", max_examples=250, **_common)
# For tests/mutation: a failure is all that counts there, so none is made smaller or remembered.
_once: Any = {"derandomize": True, "database": None, "phases": [Phase.explicit, Phase.generate]}
settings.register_profile("mutation", max_examples=8, **_once, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
