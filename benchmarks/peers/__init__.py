"""Against what a user would run instead: `python -m benchmarks.peers`."""
