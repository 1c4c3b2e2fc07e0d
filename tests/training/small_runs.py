"""A small grammar to train on, and the command that trains on it in seconds."""

import random
from pathlib import Path

SUBJECTS = ["the cat", "a dog", "the old man", "my sister", "nobody"]
VERBS = ["sees", "likes", "follows", "paints"]
OBJECTS = ["the river", "a red house", "the moon", "an apple", "two boats"]

TINY = [
    "model.embedding_size=16",
    "model.hidden_sizes=[16]",
    "tokenizer.vocab_size=290",
    "loop.batch_size=8",
    "loop.bptt=16",
    "loop.max_tokens=20000",
    "loop.eval_tokens=6000",
    "optimizer.warmup_tokens=1000",
]


def write_sentences(path: Path, count: int, seed: int) -> Path:
    draw = random.Random(seed)
    lines = [
        f"{draw.choice(SUBJECTS)} {draw.choice(VERBS)} {draw.choice(OBJECTS)} ."
        for _ in range(count)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def train_arguments(
    files: dict[str, Path], out: Path, *options: str, sets: tuple[str, ...] = ()
) -> list[str]:
    return [
        *("train", "--corpus", str(files["train"]), "--valid", str(files["valid"])),
        *("--out", str(out), "--preset", "tiny", "--processes", "1", "--device", "cpu"),
        *options,
        *("--set", *TINY, *sets),
    ]
