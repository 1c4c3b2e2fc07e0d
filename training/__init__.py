"""Corpus -> tokenizer -> trained checkpoint. Knows `models`, never `service`."""
