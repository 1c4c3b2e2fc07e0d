"""Samples that show what a checkpoint writes: prompts and seeds are fixed here, and none is picked.

Settings are the checkpoint's own sampling defaults.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.driving import run
from models.chat_template import ChatTemplate
from models.checkpoint import Checkpoint
from service.engine.engine import Engine
from service.engine.request import EngineRequest, SamplingParams

_TEXT_TOKENS, ANSWER_TOKENS = 60, 40
PROMPTS: dict[str, tuple[str, ...]] = {
    "en": (
        "It was a dark night and",
        "The house stood",
        "When the war began ,",
        "the man went to the",
        "In the morning she",
        "The film was released in",
    ),
    "ru": ("Была тёмная ночь, и", "Дом стоял", "Когда началась война,", "Утром она"),
}
# Small talk; none of the turns is in the training data.
TURNS: dict[str, tuple[str, ...]] = {
    "en": (
        "Hello there! How has your week been?",
        "I went hiking with my brother on Saturday.",
        "Do you like spending time outside?",
        "What sort of music do you listen to?",
        "I have been reading a long novel about the sea.",
        "What should I call you?",
        "My sister is getting married in June.",
        "I am worried about a test at school.",
        "Which animals do you like best?",
        "That was fun. I have to leave now, bye!",
    ),
    "ru": (),
}
# With the system line of a kind of task that the model was trained on.
TASK = (
    "You are an assistant for bookings.",
    (
        "I am looking for a cheap restaurant in San Jose.",
        "For two people, tonight at seven.",
        "Yes, please book it.",
        "Thank you! What is the phone number?",
    ),
)


class Writer:
    """Draws samples from a checkpoint with its own defaults."""

    def __init__(self, checkpoint: Checkpoint, engine: Engine) -> None:
        self.tokenizer, self.engine = checkpoint.tokenizer, engine
        self.template = checkpoint.chat_template
        self.defaults = checkpoint.sampling_defaults

    def continuation(self, prompt: str, seed: int) -> str:
        """`prompt` and what the model adds to it."""
        ids = [self.tokenizer.bos_id, *self.tokenizer.encode(prompt)]
        drawn = self._draw(ids, seed, _TEXT_TOKENS, ())
        return self.tokenizer.decode(drawn, continuation=True)

    def conversation(
        self, turns: Sequence[str], system: str = "", number: int = 0
    ) -> list[tuple[str, str]]:
        """The model's answer to each turn of a conversation, whose seeds its number decides."""
        assert self.template is not None
        template = ChatTemplate.of(self.tokenizer, self.template)
        ids, answers = [self.tokenizer.bos_id], []
        if system:
            ids += template.turn("system", system)
        for seed, turn in enumerate(turns, number * len(turns)):
            ids += [*template.turn("user", turn), template.opening]
            drawn = self._draw(ids, seed, ANSWER_TOKENS, (template.end_id,))
            ids += [*drawn, template.end_id]
            answers.append((turn, self.tokenizer.decode(drawn)))
        return answers

    def _draw(self, ids: list[int], seed: int, count: int, stop: tuple[int, ...]) -> list[int]:
        stops = (*stop, self.tokenizer.eos_id)
        params = SamplingParams(
            max_tokens=count,
            seed=seed,
            stop_token_ids=stops,
            suppressed_token_ids=tuple(
                token for token in self.tokenizer.control_ids.values() if token not in stops
            ),
            **self.defaults,
        )
        request = EngineRequest(request_id="x", prompts=(tuple(ids),), sampling=params)
        outputs = run(self.engine, [request])
        drawn = [token.token_id for output in outputs for token in output.tokens]
        return drawn[:-1] if drawn[-1] in stops else drawn


def samples(writer: Writer, language: str) -> str:
    parts = ["Not picked: prompts and seeds are fixed in `benchmarks/samples.py`, settings are the"]
    parts[0] += " checkpoint's defaults."
    for seed, prompt in enumerate(PROMPTS[language]):
        text = " ".join(writer.continuation(prompt, seed).split())
        parts.append(f"> **{prompt}** {text}")
    if writer.template is not None and TURNS[language]:
        system, task = TASK
        parts.append("A conversation of ten turns:")
        parts += _spoken(writer.conversation(TURNS[language]))
        parts.append(f"With the system line “{system}”:")
        parts += _spoken(writer.conversation(task, system))
    return "\n\n".join(parts)


def _spoken(answered: Sequence[tuple[str, str]]) -> list[str]:
    return [f"> user: {said}  \n> assistant: **{answer}**" for said, answer in answered]
