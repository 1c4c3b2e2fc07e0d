"""What is compared: each system's lists scored, tuned on the one half of the speech, and used by
the running service on the other."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from service.asr.hypotheses import LM, NBestList
from service.asr.kenlm_model import KenlmModel
from service.asr.scoring import ListScorer
from service.asr.settings import RescoringSettings
from service.asr.tuning_data import NGRAM, build_data
from service.asr.tuning_report import to_settings, tune
from service.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class System:
    """Models that take part beside the recogniser's own scores."""

    name: str
    model: Path | None = None
    ngram: Path | None = None

    def scored(self, lists: Sequence[NBestList]) -> list[NBestList]:
        ngram = None if self.ngram is None else KenlmModel(self.ngram)
        if self.model is None:
            return ListScorer(None, ngram).score(lists)
        with LanguageModel.load(self.model) as model:
            return list(ListScorer(model, ngram).stream(lists))

    def tuned(self, lists: Sequence[NBestList]) -> RescoringSettings:
        """Weights from lists whose references are known; what to keep by cross-validation."""
        data = build_data(self.scored(lists), {own.id: own.reference or "" for own in lists})
        return to_settings(tune(data).chosen, data)


def rescore(
    url: str, system: System, settings: RescoringSettings, lists: Sequence[NBestList]
) -> list[str]:
    """The best text of each list by `POST /v1/rescore`, n-gram scores sent along."""
    brought = replace(system, model=None).scored(lists) if system.ngram else lists
    body = {
        **settings.request_fields(),
        "model": "default" if system.model is None else system.model.name,
        "top_n": 1,
        "utterances": [_utterance(own, settings) for own in brought],
    }
    answer = _post(f"{url}/v1/rescore", body)
    return [
        own["hypotheses"][0]["text"] if own["hypotheses"] else "" for own in answer["utterances"]
    ]


def _utterance(nbest: NBestList, settings: RescoringSettings) -> dict[str, Any]:
    hypotheses = []
    for own in nbest.hypotheses:
        sums = {name: sum(scores) for name, scores in own.word_scores.items()}
        known = {LM: own.scores[LM], **sums}
        entry: dict[str, Any] = {"text": own.text, "score": own.score}
        entry["scores"] = {name: known[name] for name in settings.weights}
        if settings.mixture is not None:
            entry["word_scores"] = {NGRAM: list(own.word_scores[NGRAM])}
        hypotheses.append(entry)
    return {"id": nbest.id, "hypotheses": hypotheses}


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)


@contextmanager
def running_service(model: Path, models: Path) -> Iterator[str]:
    """The service on a free port of this machine, `model` its default, the others by name."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
    command += ["--model", str(model), "--models", str(models), "--log-level", "warning"]
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{url}/health/ready", process)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"the service ended with {process.returncode}")
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError("the service is not ready after two minutes")
