"""From the weights of a run to the checkpoint that others read."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.chat_template import STANDARD_TEMPLATE
from models.checkpoint import Checkpoint, save_checkpoint
from models.language_model import LanguageModel
from models.tokenizer import Tokenizer
from training.card import model_card
from training.config import ChatSection, TrainConfig
from training.run_state import Progress


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a model comes from.

    corpus, valid: the sources as they were named. license: of the data. command: what started the
    run. base: digest of the checkpoint that training began from.
    """

    corpus: tuple[str, ...]
    valid: tuple[str, ...]
    train_tokens: int
    license: str
    command: str
    base: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For the checkpoint's record."""
        return dataclasses.asdict(self)


def declared_template(chat: ChatSection) -> Mapping[str, Any] | None:
    """The template that a checkpoint declares; None for a model that is not for chat."""
    if chat.enabled is not True:
        return None
    if isinstance(chat.system_prompts, list):
        return {**STANDARD_TEMPLATE, "system_prompts": chat.system_prompts}
    return STANDARD_TEMPLATE


class Publisher:
    """Writes the checkpoint of a run to `out`, again and again as it gets better."""

    def __init__(
        self, config: TrainConfig, tokenizer: Tokenizer, origin: Origin, out: Path
    ) -> None:
        self.config, self.tokenizer, self.origin, self.out = config, tokenizer, origin, out

    def save(self, model: LanguageModel, progress: Progress) -> None:
        """Put the model as it is in the place of the last checkpoint."""
        weights = {
            name: tensor.detach().float().cpu().numpy().copy()
            for name, tensor in model.state_dict().items()
        }
        training: Mapping[str, Any] = {
            "config": self.config.model_dump(mode="json"),
            "progress": dataclasses.asdict(progress),
            "origin": self.origin.to_dict(),
        }
        checkpoint = Checkpoint(
            model=model.config,
            weights=weights,
            tokenizer=self.tokenizer,
            storage=self.config.model.storage,
            chat_template=declared_template(self.config.chat),
            sampling_defaults=self.config.sampling.model_dump(exclude_none=True),
            training=training,
            metrics={"valid_loss_nats_per_token": progress.best_loss},
        )
        card = model_card(self.out.name, checkpoint)
        save_checkpoint(dataclasses.replace(checkpoint, card=card), self.out)

    def add_curves(self, png: Path) -> None:
        """Lay the run's curves beside the checkpoint, where there are both."""
        if self.out.exists() and png.exists():
            shutil.copyfile(png, self.out / png.name)
