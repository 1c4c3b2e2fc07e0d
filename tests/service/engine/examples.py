"""What tests of the engine draw their examples from, and how near they ask the oracle to be."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

CLOSE = 2e-5  # nats: fp32 sums of this size differ by less from the oracle's

# The runner keeps nothing between requests that an example could see.
unhurried = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
token_ids = st.integers(0, 60)
prompt_lists = st.lists(
    st.lists(st.integers(0, 2) | token_ids, min_size=1, max_size=7).map(tuple),
    min_size=1,
    max_size=5,
)
