"""The strangest lines of a log: those that the model finds least probable for their length.

    python examples/log_anomalies.py service.log --top 10

A line's figure is its bits per byte. Numbers, times and addresses are noise to a language model:
they are masked before. The shipped model knows English and no logs; it
finds what reads oddly. One that has read yesterday's log (`make train CORPUS=yesterday.log ...`)
finds what has not happened before. A file of any size, a batch at a time.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator

from client import Service, batches, open_text, parser

LINES_AT_A_TIME = 256
_NOISE = re.compile(r"\b(?:0x)?[0-9a-f]*\d[0-9a-f:.\-]*\b", re.IGNORECASE)


def mask(line: str) -> str:
    """The line with `0` for every number, time, address and identifier with a digit in it."""
    return _NOISE.sub("0", line.strip())


def score(service: Service, lines: Iterable[str]) -> Iterator[tuple[float, int, str]]:
    """Bits per byte, number and text of every line that is not empty."""
    numbered = ((number, line) for number, line in enumerate(lines, start=1) if line.strip())
    for batch in batches(numbered, LINES_AT_A_TIME):
        answer = service.post("/v1/score", texts=[mask(line) for _, line in batch])
        for (number, line), found in zip(batch, answer["data"], strict=True):
            yield found["bits_per_byte"], number, line.strip()


def main() -> None:
    options = parser(__doc__)
    options.add_argument("file", help="the log, plain or .gz; - reads standard input")
    options.add_argument("--top", type=int, default=10, help="how many lines to show")
    args = options.parse_args()
    with open_text(args.file) as file:
        strangest = heapq.nlargest(args.top, score(Service(args.url, args.model), file))
    for bits, number, line in strangest:
        print(f"{bits:5.2f}  {number:>8}  {line}")


if __name__ == "__main__":
    main()
