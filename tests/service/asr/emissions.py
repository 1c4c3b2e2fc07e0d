"""CTC emissions over letters: a network's output as it would be of clear or of doubtful speech."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LABELS = ["", " ", *"abcdefghijklmnopqrstuvwxyz'"]  # the blank first
BLANK, SPACE = 0, 1


def emissions(texts: dict[str, float], *, clear: float = 8.0, seed: int = 0) -> NDArray[np.float32]:
    """(T, len(LABELS)) ln P: a mixture of the paths of `texts`, which must be of one length.

    texts: how strongly each is heard. clear: how far above the noise, in nats.
    """
    (length,) = {len(text) for text in texts}
    rng = np.random.default_rng(seed)
    frames = 3 * length + 1
    logits = rng.normal(0, 0.3, (frames, len(LABELS)))
    for frame in range(frames):
        place, phase = divmod(frame, 3)
        if phase == 0 or place >= length:
            logits[frame, BLANK] += clear
            continue
        for text, weight in texts.items():
            label = LABELS.index(text[place])
            logits[frame, label] = max(logits[frame, label], clear + weight)
    logprobs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return np.asarray(logprobs, np.float32)
