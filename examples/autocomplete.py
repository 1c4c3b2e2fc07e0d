"""Complete what somebody types: the likely next words, from the first letters of a word on.

    echo 'She opened the wi' | python examples/autocomplete.py
    python examples/autocomplete.py            # and type; each line is completed

What ends in white space asks for the next word, anything else for the end of its last word.
"""

from __future__ import annotations

import math
import sys

from client import Service, parser


def complete(service: Service, text: str, most: int) -> list[tuple[str, float]]:
    """The likeliest words that begin with the letters at the end of `text`, with probabilities."""
    start = len(text) - len(text.split(" ")[-1])
    context, letters = text[:start], text[start:]
    answer = service.post("/v1/next-word", context=context, prefix=letters, top_k=most)
    return [(word["word"], math.exp(word["logprob"])) for word in answer["top"]]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--most", type=int, default=5, help="how many words to offer")
    args = options.parse_args()
    service = Service(args.url, args.model)
    for line in sys.stdin:
        words = complete(service, line.rstrip("\n"), args.most)
        print("  ".join(f"{word} {100 * share:.1f}%" for word, share in words) or "(nothing)")


if __name__ == "__main__":
    main()
