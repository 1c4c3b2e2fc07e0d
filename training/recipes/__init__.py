"""Recipes of the shipped models: from public corpora to the files they are trained on."""
