"""What rescoring does with a recogniser's files, whoever asks: the command line, or a cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from service.asr.carried import carry_context
from service.asr.formats import (
    LATTICE_FORMATS,
    ReadOptions,
    open_writer,
    read_lattices,
    read_lists,
)
from service.asr.formats.htk_lattice import Writer as HtkWriter
from service.asr.formats.kaldi_lattice import Writer as KaldiWriter
from service.asr.formats.text_files import open_text
from service.asr.hypotheses import LM, NBestList
from service.asr.kenlm_model import KenlmModel
from service.asr.lattice import Lattice, PathWeights
from service.asr.lattice import nbest as lattice_nbest
from service.asr.lattice_rescoring import RescoringOptions, rescore_lattices
from service.asr.ranking import Ranker
from service.asr.scoring import ListScorer
from service.asr.settings import RescoringSettings, untuned_settings
from service.asr.word_model import MixedModel, WordModel
from service.language_model import LanguageModel

Watch = Callable[[Iterable[NBestList]], Iterator[NBestList]]


@dataclass(frozen=True, kw_only=True)
class RescoringJob:
    """Which files are read, what their scores weigh, and what is written.

    form, output: names of `service.asr.formats`. untuned: weights of lists by what the first one
    brings, with these fields of `settings` over them. ngram: a file for KenLM. hot_words: each with
    what it adds. top: so many of each list are written. lattice: lattices are rescored as such,
    expanded so; else the lists that are in them. ValueError for what cannot go together.
    """

    form: str = "jsonl"
    reading: ReadOptions = field(default_factory=ReadOptions)
    settings: RescoringSettings = field(default_factory=RescoringSettings)
    untuned: Mapping[str, Any] | None = None
    ngram: Path | None = None
    hot_words: Mapping[str, float] = field(default_factory=dict)
    carries_context: bool = False
    lattice: RescoringOptions | None = None
    output: str = "text"
    top: int | None = None

    def __post_init__(self) -> None:
        if self.lattice is not None:
            self._check_lattice()
        elif self.output in LATTICE_FORMATS:
            raise ValueError(f"--to {self.output} writes lattices: say --lattice")
        if self.carries_context and (self.ngram is not None or self.settings.mixture is not None):
            raise ValueError("--carry-context goes with the model alone, no n-gram")

    def _check_lattice(self) -> None:
        if self.form not in LATTICE_FORMATS:
            raise ValueError(f"--lattice needs --format {' or '.join(LATTICE_FORMATS)}")
        if self.settings.text_form != "as-is":
            raise ValueError("--text-form is for lists: a lattice's words are taken as they are")
        if self.settings.mixture is not None and self.ngram is None:
            raise ValueError("the mixture of a lattice needs --ngram")

    def run(
        self, model: LanguageModel, paths: Sequence[Path], out: Path, watch: Watch = iter
    ) -> None:
        """Read `paths` one after another and write `out`, in constant memory.

        watch: sees every list on its way. Raises ValueError, OSError and, for an n-gram without
        KenLM, ImportError.
        """
        ngram = None if self.ngram is None else KenlmModel(self.ngram)
        if self.lattice is not None:
            self._run_lattices(self.lattice, model, ngram, paths, out, watch)
            return
        lists = chain.from_iterable(read_lists(own, self.form, self.reading) for own in paths)
        # Closed before the model is: what is in work would wait for it for ever.
        with closing(self.rank(model, ngram, lists)) as ranked:
            self._write(ranked, out, watch)

    def rank(
        self, model: LanguageModel, ngram: KenlmModel | None, lists: Iterable[NBestList]
    ) -> Generator[NBestList]:
        """The lists in their order, each best first."""
        settings, lists = self._settings_for(lists)
        ranker, form = Ranker(settings, self.hot_words), settings.text_form
        if self.carries_context:
            yield from carry_context(model, lists, ranker, form)
            return
        with closing(ListScorer(model, ngram, form).stream(lists)) as scored:
            for own in scored:
                yield ranker.rank(own)

    def _settings_for(
        self, lists: Iterable[NBestList]
    ) -> tuple[RescoringSettings, Iterable[NBestList]]:
        """The settings, and all of the lists, of which some may have been looked at."""
        if self.untuned is None:
            return self.settings, lists
        seen, rest = list[NBestList](), iter(lists)
        for own in rest:
            seen.append(own)
            if own.hypotheses:
                break
        names = {name for own in seen for h in own.hypotheses[:1] for name in h.scores}
        return replace(untuned_settings(names), **self.untuned), chain(seen, rest)

    def _write(self, lists: Iterable[NBestList], out: Path, watch: Watch) -> None:
        top = self.top
        with open_writer(out, self.output) as writer:
            for own in watch(lists):
                writer.write(replace(own, hypotheses=own.hypotheses[:top]) if top else own)

    # Lattices

    def _run_lattices(
        self,
        options: RescoringOptions,
        model: LanguageModel,
        ngram: KenlmModel | None,
        paths: Sequence[Path],
        out: Path,
        watch: Watch,
    ) -> None:
        """Lattices in, lattices or lists out."""
        words: WordModel = model.words
        if self.settings.mixture is not None:
            assert ngram is not None
            words = MixedModel(model.words, ngram, self.settings.mixture.share)
        lattices = chain.from_iterable(read_lattices(own, self.form, self.reading) for own in paths)
        rescored = rescore_lattices(lattices, words, options)
        if self.output in LATTICE_FORMATS:
            _write_lattices(rescored, self.output, out, options.weights)
            return
        ranker, size = Ranker(_of_paths(self.settings, options.weights)), self.reading.nbest
        lists = (ranker.rank(lattice_nbest(own, size, options.weights)) for own in rescored)
        self._write(lists, out, watch)


def rescore_file(model: LanguageModel, source: Path, target: Path, job: RescoringJob) -> None:
    """`RescoringJob.run` of one file."""
    job.run(model, [source], target)


def _of_paths(settings: RescoringSettings, weights: PathWeights) -> RescoringSettings:
    """A lattice's paths bring both models' sums."""
    return replace(settings, weights={LM: weights.lm, "model": weights.model}, lm_weight=0.0)


def _write_lattices(
    lattices: Iterator[Lattice], output: str, out: Path, weights: PathWeights
) -> None:
    if output == "htk-lattice":
        if out == Path("-"):
            raise ValueError("--to htk-lattice is a folder of files: give --out FOLDER")
        folder = HtkWriter(out)
        for own in lattices:
            folder.write(own)
        return
    total = weights.lm + weights.model
    with open_text(out, "w") as file:
        writer = KaldiWriter(file, share=weights.model / total if total else 0.0)
        for own in lattices:
            writer.write(own)
