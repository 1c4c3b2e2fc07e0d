"""How cost and memory grow with what is asked: `python -m benchmarks.growth`."""
