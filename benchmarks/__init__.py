"""How fast it is: `python -m benchmarks`, or one of its modules. See docs/performance.md."""
