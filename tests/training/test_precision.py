import pytest
import torch

from training.precision import choose_precision

CPU = torch.device("cpu")


def test_what_was_asked_for_is_what_is_used() -> None:
    assert choose_precision("float32", CPU) == "float32"
    assert choose_precision("bfloat16", CPU) == "bfloat16"


@pytest.mark.parametrize(("has_tiles", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_auto_asks_the_processor(
    has_tiles: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_tiles)
    assert choose_precision("auto", CPU) == chosen
