"""Keep the lines of a corpus that the model finds probable enough, however large the file.

    python examples/filter_corpus.py crawl.txt.gz --most 3.0 > clean.txt

A line is kept if its bits per byte lie between --least and --most: boilerplate that repeats is too
probable, debris of markup and other languages not probable enough. Lines with fewer than --words
words tell too little and are dropped. What was kept is told on standard error; look at what a
limit does with `--show 20`, which prints so many figures and lines and keeps nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice

from client import Service, batches, open_text, parser

LINES_AT_A_TIME = 256
LONGEST = 4000  # characters of a line that are scored: enough to judge it


def score(service: Service, lines: Iterable[str]) -> Iterator[tuple[float, str]]:
    """Bits per byte of each line, in order, and the line."""
    for batch in batches(lines, LINES_AT_A_TIME):
        answer = service.post("/v1/score", texts=[line[:LONGEST] for line in batch])
        for line, found in zip(batch, answer["data"], strict=True):
            yield found["bits_per_byte"], line


def main() -> None:
    options = parser(__doc__)
    options.add_argument("file", help="text, plain or .gz; - reads standard input")
    options.add_argument("--least", type=float, default=0.3, help="bits per byte (0.3)")
    options.add_argument("--most", type=float, default=2.5, help="bits per byte (2.5)")
    options.add_argument("--words", type=int, default=3, help="of a line, at least (3)")
    options.add_argument("--show", type=int, metavar="N", help="print N figures, keep nothing")
    args = options.parse_args()
    kept = read = 0
    with open_text(args.file) as file:
        lines = (line.rstrip("\n") for line in file)
        long_enough = (line for line in lines if len(line.split()) >= args.words)
        scored = score(Service(args.url, args.model), long_enough)
        for bits, line in islice(scored, args.show):
            if args.show is not None:
                print(f"{bits:5.2f}  {line}")
                continue
            read += 1
            if args.least <= bits <= args.most:
                kept += 1
                print(line)
    if args.show is None:
        print(f"kept {kept} of {read} lines of {args.words} words or more", file=sys.stderr)


if __name__ == "__main__":
    main()
