"""Where the engine's loop takes the search for candidates from."""

from service.engine.candidates import top_candidates as top_candidates
