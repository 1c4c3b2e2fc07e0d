"""Text and JSON: everything between the wire and the engine's token ids."""
