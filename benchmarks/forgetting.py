"""What adapting wins on a domain and loses on the base's own text, without and with --mix.

    python -m benchmarks.forgetting --data CORPORA --work runs/forgetting [--save]

The domain is 1,000 sentences of MedQuAD's answers, drawn with a fixed seed; 1,000 of its test files
measure what was won. What is lost is measured on the first lines of test texts of the base's own
corpora. Both in bits a byte, every line by itself. Each variant is `lstm-train adapt --epochs 2
--rate 3e-3`, so that all read the domain as often and learn at one rate, the one that adapt finds
there by itself; one or two minutes each on one core. Folders that are there already are only
measured again.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from benchmarks.harness import PROJECT, SHIPPED, Json, new_parser, parse
from models.checkpoint import load_checkpoint
from training.adapt import AdaptRequest, adapt
from training.corpus import read_lines
from training.evaluate import evaluate_file, model_of
from training.plots import new_figure

RESULTS = Path(__file__).with_name("forgetting.json")
PICTURE = PROJECT / "docs" / "forgetting.png"
_SENTENCE = re.compile(r"(?<=[.?!]) +(?=[A-Z])")
_OWN = ("wikitext-2", "english-novels", "common-voice-sentences/en")
_OWN_LINES = 400
_LEARNT, _TESTED = 1000, 1000
_EPOCHS, _RATE = 2.0, 3e-3


def variants(data: Path) -> Mapping[str, tuple[Sequence[str], float]]:
    """Name -> what is mixed in, and its share."""
    own = [f"{_file(data, name, 'train')}@lines" for name in _OWN]
    return {
        "alone": ((), 0.3),
        "--mix FILES": (own, 0.3),
        "--mix self": (("self",), 0.3),
    }


def sentences(lines: Iterable[str]) -> Iterator[str]:
    """Different sentences of 5 to 60 words of the answers of dialogues, a JSON line each."""
    seen = set()
    for line in lines:
        for turn in json.loads(line)["turns"]:
            if turn["role"] != "assistant":
                continue
            for sentence in _SENTENCE.split(turn["content"].replace("\n", " ")):
                text = sentence.strip()
                if 5 <= len(text.split()) <= 60 and text not in seen:
                    seen.add(text)
                    yield text


def write_texts(data: Path, folder: Path) -> dict[str, Path]:
    """The domain's text to learn and to test, and the base's own text to test."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for name, count in (("train", _LEARNT), ("test", _TESTED)):
        found = list(sentences(read_lines(data / "medquad-dialogues" / f"{name}.jsonl.xz")))
        random.Random(0).shuffle(found)
        drawn[name] = found[:count]
    drawn["own"] = []
    for name in _OWN:
        full = (line for line in read_lines(_file(data, name, "test")) if len(line.split()) >= 5)
        drawn["own"] += islice(full, _OWN_LINES)
    for name, lines in drawn.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {name: folder / f"{name}.txt" for name in drawn}


def _file(data: Path, name: str, part: str) -> Path:
    folder, _, prefix = name.partition("/")
    return data / folder / f"{prefix + '.' if prefix else ''}{part}.txt.xz"


def measure(model: Path, texts: Mapping[str, Path]) -> dict[str, float]:
    """Bits a byte on the domain's test text and on the base's own."""
    checkpoint = load_checkpoint(model)
    network = model_of(checkpoint)
    return {
        name: evaluate_file(
            network, checkpoint.tokenizer, texts[file], restart_lines=True
        ).bits_per_byte
        for name, file in (("domain", "test"), ("own", "own"))
    }


def draw(results: Mapping[str, Mapping[str, float]], png: Path) -> None:
    """Both losses of every variant: the lower left corner is where one would be."""
    figure, (axes,) = new_figure(1, 1, (6.5, 4))
    for name, found in results.items():
        axes.plot(found["domain"], found["own"], "o")
        axes.annotate(
            name, (found["domain"], found["own"]), xytext=(6, 4), textcoords="offset points"
        )
    axes.set_xlabel("the domain's test text, bits a byte")
    axes.set_ylabel("the base's own text, bits a byte")
    axes.margins(0.2)
    axes.grid(alpha=0.3)
    figure.savefig(png, dpi=100)


def main() -> None:
    parser = new_parser("benchmarks.forgetting", __doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--work", type=Path, required=True, help="folder for texts and models")
    options = parse(parser, None)
    texts = write_texts(options.data, options.work / "texts")
    results: Json = {"the base": measure(SHIPPED, texts)}
    for number, (name, (mix, share)) in enumerate(variants(options.data).items()):
        out = options.work / f"adapted-{number}"
        if not out.exists():
            adapt(
                AdaptRequest(
                    base=SHIPPED,
                    corpus=[f"{texts['train']}@lines"],
                    out=out,
                    mix=mix,
                    mix_share=share,
                    epochs=0.05 if options.quick else _EPOCHS,
                    rate=_RATE,
                )
            )
        results[name] = measure(out, texts)
        print(name, results[name], flush=True)
        if options.save:
            RESULTS.write_text(json.dumps(results, indent=2) + "\n")
            draw(results, PICTURE)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
