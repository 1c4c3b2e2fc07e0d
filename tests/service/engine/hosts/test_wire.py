"""What arrives at the other side of a pipe is what was sent."""

from __future__ import annotations

import pickle

import numpy as np

from models.config import ModelConfig
from service.engine.hosts.worker import pack_outputs, unpack_outputs
from service.engine.runners.onnx_runner import OnnxRunner
from tests.service.engine.asking import REQUESTS
from tests.service.engine.driving import Result, make_engine
from tests.service.engine.small_models import random_weights


def test_outputs_of_every_kind_survive_the_pipe() -> None:
    config = ModelConfig(vocab_size=30, embedding_size=4, hidden_sizes=(4,))
    runner = OnnxRunner(config, random_weights(config), arithmetic="fp32", max_rows=4)
    engine = make_engine(runner)
    sent, received = ({r.request_id: Result() for r in REQUESTS} for _ in range(2))
    for request in REQUESTS:
        engine.add_request(pickle.loads(pickle.dumps(request)))
    while engine.has_work:
        outputs = engine.step()
        arrived = unpack_outputs(pickle.loads(pickle.dumps(pack_outputs(outputs))))
        for output, copy in zip(outputs, arrived, strict=True):
            assert (copy.request_id, copy.cached_tokens) == (
                output.request_id,
                output.cached_tokens,
            )
            sent[output.request_id].add(output)
            received[output.request_id].add(copy)
    assert all(result.finished for result in sent.values())
    for name, result in sent.items():
        assert received[name].bits() == result.bits()
        assert all(
            output.logprobs is None or output.logprobs.dtype == np.float32
            for output in received[name].prompts.values()
        )
