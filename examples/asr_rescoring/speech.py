"""Sentences spoken by flite, decoded by PocketSphinx: lattices with its trigram's scores.

PocketSphinx' own N-best search gives lists that are worse than its best path, so its word lattice
is taken, the trigram of its package put on the links, and the N-best list read off exactly.
"""

from __future__ import annotations

import hashlib
import math
import subprocess
import tempfile
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.asr.formats.htk_lattice import read_lattice
from service.asr.hypotheses import NBestList
from service.asr.lattice import PathWeights, nbest
from service.asr.lattice_rescoring import RescoringOptions, replace_lm, rescore_lattices

VOICES = ("slt", "rms", "awb")
NOISE_DB = (None, 28.0, 22.0)  # signal to noise; a third of the sentences is clean
LM_SCALE, WORD_PENALTY = 9.5, 0.65  # PocketSphinx' own of its last pass (bestpathlw, wip)
_RATE = 16000
_UNKNOWN = -1e4  # below every score of a word that the trigram knows


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """A sentence and how it is said; everything is decided by its id."""

    id: str
    text: str

    @property
    def _choice(self) -> int:
        return int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:4], "big")

    @property
    def voice(self) -> str:
        return VOICES[self._choice % len(VOICES)]

    @property
    def noise_db(self) -> float | None:
        return NOISE_DB[self._choice // len(VOICES) % len(NOISE_DB)]

    def samples(self) -> NDArray[np.int16]:
        """Speech of 16 kHz, with pink noise if any."""
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            command = ["flite", "-voice", self.voice, "-t", self.text, "-o", file.name]
            subprocess.run(command, check=True)
            with wave.open(file.name) as speech:
                if speech.getframerate() != _RATE:
                    raise RuntimeError(f"flite's voice {self.voice} is not of {_RATE} Hz")
                clean = np.frombuffer(speech.readframes(speech.getnframes()), np.int16)
        if self.noise_db is None:
            return clean
        noise = _pink_noise(len(clean), self._choice)
        power = float((clean.astype(np.float64) ** 2).mean())
        noise *= math.sqrt(power / 10 ** (self.noise_db / 10))
        return np.clip(clean + noise, -32768, 32767).astype(np.int16)


def _pink_noise(length: int, seed: int) -> NDArray[np.float64]:
    """Noise of power 1 that falls by 3 dB an octave."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(length))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    noise: NDArray[np.float64] = np.fft.irfft(spectrum, length)
    noise /= noise.std()
    return noise


class Trigram:
    """The recogniser's language model as a word model; a state is the last two words."""

    def __init__(self, decoder: Any, path: str) -> None:
        from pocketsphinx import NGramModel

        log_math = decoder.get_logmath()
        self._model = NGramModel(decoder.config, log_math, path)
        self._to_ln = log_math.log_to_ln
        self._score = lru_cache(1 << 20)(self._computed)

    def start(self) -> tuple[str, ...]:
        return ("<s>",)

    def advance(
        self, states: Sequence[tuple[str, ...]], words: Sequence[str]
    ) -> tuple[list[float], list[tuple[str, ...]]]:
        pairs = list(zip(states, words, strict=True))
        scores = [self._score(word, *state) for state, word in pairs]
        return scores, [(word, *state[:1]) for state, word in pairs]

    def end(self, states: Sequence[tuple[str, ...]]) -> list[float]:
        return [self._score("</s>", *state) for state in states]

    def _computed(self, *words: str) -> float:
        """ln P of the first word behind the others, the nearest first."""
        return max(float(self._to_ln(self._model.prob(list(words)))), _UNKNOWN)


class Recogniser:
    """PocketSphinx with the English model of its package."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder, get_model_path

        self._decoder = Decoder(samprate=_RATE, loglevel="ERROR")
        self._trigram = Trigram(self._decoder, get_model_path("en-us/en-us.lm.bin"))

    def decode(self, spoken: Spoken, size: int) -> tuple[NBestList, str]:
        """The `size` best hypotheses of the lattice, and the decoder's own best."""
        self._decoder.start_utt()
        self._decoder.process_raw(spoken.samples().tobytes(), full_utt=True)
        self._decoder.end_utt()
        best, lattice = self._decoder.hyp(), self._decoder.get_lattice()
        own_best = "" if best is None else str(best.hypstr)
        if lattice is None:
            return NBestList(id=spoken.id, hypotheses=()), own_best
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{spoken.id}.slf"
            lattice.write_htk(str(path))
            acoustic = read_lattice(path)
        weights = PathWeights(lm=LM_SCALE, length_bonus=math.log(WORD_PENALTY))
        options = RescoringOptions(
            merge=3,  # loses nothing: the model is a trigram
            max_states=20,
            beam=200.0,  # of totals in which a word weighs about 50
            weights=PathWeights(0.0, LM_SCALE, math.log(WORD_PENALTY)),
        )
        (scored,) = rescore_lattices([acoustic], self._trigram, options)
        found = nbest(replace_lm(scored), size, weights)
        return NBestList(id=spoken.id, hypotheses=found.hypotheses), own_best


def decode_all(
    recogniser: Recogniser, sentences: Sequence[Spoken], size: int
) -> Iterator[dict[str, Any]]:
    """An N-best list for each sentence, in the short names of nbest-pocketsphinx-dev."""
    for spoken in sentences:
        nbest_list, own_best = recogniser.decode(spoken, size)
        yield {
            "utt": spoken.id,
            "ref": spoken.text,
            "speaker": spoken.voice,
            "recogniser": own_best,
            "hyps": [
                {
                    "text": own.text,
                    "am": round(own.score or 0.0, 3),
                    "lm": round(own.scores["lm"], 3),
                    "n_words": len(own.words),
                }
                for own in nbest_list.hypotheses
            ],
        }
