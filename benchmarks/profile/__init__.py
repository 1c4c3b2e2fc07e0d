"""Where a core's time goes, by place: `python -m benchmarks.profile`."""
