"""Rescoring for speech recognition: formats, tuning, lattices and first-pass adapters."""
