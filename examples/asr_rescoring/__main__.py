"""From speech to a quarter fewer errors: a recogniser, its lists, a domain, minutes of adaptation.

    cd examples && python -m asr_rescoring --corpus CORPORA/star-dialogues --work ../runs/asr

CORPORA/star-dialogues: train.jsonl.xz, valid.jsonl.xz and test.jsonl.xz of dialogues, as in
docs/training.md. User turns of valid (for tuning) and test (measured once; none of them is in train
or valid) are spoken by flite and decoded by PocketSphinx; en-small, en-small adapted on the user
turns of train, and an n-gram of the same turns rescore the lists through the running service.
Needs Debian's flite, `pip install pocketsphinx` and the extras asr, kenlm and train. Every stage is
kept in --work, so that a run which was stopped goes on. The page is WORK/README.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from asr_rescoring.page import compare, oracle_texts, write_page
from asr_rescoring.sentences import choose_spoken, user_turns
from asr_rescoring.speech import Recogniser, Spoken, decode_all
from asr_rescoring.systems import System, rescore, running_service

from service.asr.formats import read_lists
from service.asr.hypotheses import NBestList

ROOT = Path(__file__).parents[2]
GENERAL = ROOT / "models" / "pretrained" / "en-small"
FIRST_PASS = "first pass"


def prepare_sentences(corpus: Path, work: Path, num_valid: int, num_test: int) -> None:
    """The domain's text for adaptation, and the sentences to be spoken."""
    turns = {name: user_turns(corpus / f"{name}.jsonl.xz") for name in ("train", "valid", "test")}
    for name in ("train", "valid"):
        (work / f"domain.{name}.txt").write_text("\n".join(turns[name]) + "\n", encoding="utf-8")
    spoken = {
        "valid": choose_spoken(turns["valid"], turns["train"], num_valid),
        "test": choose_spoken(turns["test"], {*turns["train"], *turns["valid"]}, num_test),
    }
    (work / "spoken.json").write_text(json.dumps(spoken, indent=1), encoding="utf-8")


def decode(work: Path, size: int) -> None:
    """Lists of both halves; those that are there already are not decoded again."""
    recogniser = None
    for name, texts in json.loads((work / "spoken.json").read_text()).items():
        path = work / f"{name}.jsonl"
        done = len(path.read_text().splitlines()) if path.exists() else 0
        sentences = [Spoken(id=f"{name}-{i:03}", text=text) for i, text in enumerate(texts)]
        if done == len(sentences):
            continue
        recogniser = recogniser or Recogniser()
        with path.open("a", encoding="utf-8") as file:
            for entry in decode_all(recogniser, sentences[done:], size):
                file.write(json.dumps(entry) + "\n")
                file.flush()
                print(f"{entry['utt']}: {entry['ref']} | {entry['recogniser']}", file=sys.stderr)


def adapted_name(minutes: float) -> str:
    """What the page calls a model that was adapted for so long."""
    return f"adapted for {minutes:g} minute{'' if minutes == 1 else 's'}"


def train(work: Path, minutes: Sequence[float], order: int) -> tuple[dict[str, Path], Path]:
    """The adapted models by their names on the page, and the n-gram model."""
    text, valid = work / "domain.train.txt", work / "domain.valid.txt"
    ngram, models = work / "domain.arpa", work / "models"
    if not ngram.exists():
        _run("ngram", "--corpus", f"{text}@lines", "--order", order, "--out", ngram)
    adapted = {adapted_name(own): models / f"adapted-{own:g}-minutes" for own in minutes}
    for folder, own in zip(adapted.values(), minutes, strict=True):
        if not folder.exists():
            texts = ("--corpus", f"{text}@lines", "--valid", f"{valid}@lines")
            _run("adapt", "--base", GENERAL, *texts, "--minutes", own, "--out", folder)
    return adapted, ngram


def _run(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "training", *map(str, arguments)], check=True, cwd=ROOT)


def measure(work: Path, adapted: Mapping[str, Path], ngram: Path) -> Path:
    """Tune on valid, rescore test by the service, write the page."""
    valid, test = (list(read_lists(work / f"{name}.jsonl", "jsonl")) for name in ("valid", "test"))
    systems = [
        System(name="retuned"),
        System(name="en-small", model=GENERAL),
        System(name="in-domain n-gram", ngram=ngram),
        *(System(name=name, model=folder) for name, folder in adapted.items()),
        System(name="adapted and n-gram", model=[*adapted.values()][-1], ngram=ngram),
    ]
    texts: dict[str, Sequence[str]] = {FIRST_PASS: _first(test)}
    with running_service(GENERAL, work / "models") as url:
        for system in systems:
            settings = system.tuned(valid)
            settings.save(work / f"{system.name.replace(' ', '-')}.json")
            texts[system.name] = rescore(url, system, settings, test)
    texts["oracle"] = oracle_texts(test)
    rows, gains = compare(test, texts, FIRST_PASS)
    return write_page(work, rows, gains, _about(work, valid, test))


def _first(lists: Sequence[NBestList]) -> list[str]:
    return [own.hypotheses[0].text if own.hypotheses else "" for own in lists]


def _about(work: Path, valid: Sequence[NBestList], test: Sequence[NBestList]) -> list[str]:
    turns = (work / "domain.train.txt").read_text(encoding="utf-8").splitlines()
    return [
        f"{len(test)} user turns that occur in no training text, spoken by flite (three voices, "
        "two thirds with pink noise), decoded by PocketSphinx; lists of up to 100 hypotheses. "
        f"Models and weights were chosen on {len(valid)} other turns. Adaptation and the n-gram "
        f"had the same {len(turns):,} user turns.",
        "",
        "*retuned* are the recogniser's own scores with scale and length bonus tuned alike. "
        "Intervals are from 10,000 resamples of the turns.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the dialogues")
    parser.add_argument("--work", type=Path, default=Path("runs/asr-rescoring"))
    parser.add_argument("--valid", type=int, default=80, help="sentences spoken for tuning")
    parser.add_argument("--test", type=int, default=140, help="sentences spoken for the figures")
    parser.add_argument("--list-size", type=int, default=100)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 4])
    parser.add_argument("--order", type=int, default=4, help="of the n-gram")
    parser.add_argument("--adapted", type=Path, nargs="+", help="use these, adapt none")
    options = parser.parse_args()
    if shutil.which("flite") is None:
        sys.exit("flite is missing: apt-get install flite")
    work: Path = options.work.resolve()  # training runs in another folder
    (work / "models").mkdir(parents=True, exist_ok=True)
    if not (work / "spoken.json").exists():
        prepare_sentences(options.corpus, work, options.valid, options.test)
    decode(work, options.list_size)
    if options.adapted:
        _, ngram = train(work, [], options.order)
        adapted = {folder.name.replace("-", " "): folder for folder in options.adapted}
    else:
        adapted, ngram = train(work, options.minutes, options.order)
    print(f"page: {measure(work, adapted, ngram)}")


if __name__ == "__main__":
    main()
