"""Surprisal of every word of a list of items, as a reading experiment wants it: a table in bits.

    python examples/surprisal.py items.tsv > surprisal.tsv

A line of the file is an item: `id<TAB>sentence`, or the sentence alone. A word is what stands
between white space, its punctuation included. The first word is conditioned on the beginning of
the sequence; the end of the sentence is left out. `entropy` is that of the next token before the
word, in bits: how uncertain the model was there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from client import Service, open_text, parser

COLUMNS = ("item", "position", "word", "surprisal", "entropy")


def read_items(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Id and sentence of each line that is not empty; the line's number where it has no id."""
    for number, line in enumerate(lines, start=1):
        if line.strip():
            name, tab, sentence = line.strip().partition("\t")
            yield (name, sentence) if tab else (str(number), name)


def entropy(service: Service, context: str) -> float:
    """Entropy of the next token after `context`, in bits, from the whole distribution."""
    answer = service.post("/v1/next-token", context=context, full=True)
    logprobs: list[float | None] = answer["logprobs"]
    return -sum(math.exp(p) * p for p in logprobs if p is not None) / math.log(2)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("file", help="items, plain or .gz; - reads standard input")
    args = options.parse_args()
    service = Service(args.url, args.model)
    print(*COLUMNS, sep="\t")
    with open_text(args.file) as file:
        for item, sentence in read_items(iter(file)):
            answer = service.post("/v1/score", texts=[sentence], detail="words", eos=False)
            for position, word in enumerate(answer["data"][0]["words"], start=1):
                before = sentence[: word["start"]].rstrip()
                surprisal = -word["logprob"] / math.log(2)
                row = (f"{surprisal:.4f}", f"{entropy(service, before):.4f}")
                print(item, position, word["word"], *row, sep="\t")


if __name__ == "__main__":
    main()
