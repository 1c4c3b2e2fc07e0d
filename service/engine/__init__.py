"""Token ids in, token ids and log-probabilities out. Knows no HTTP and no text."""
