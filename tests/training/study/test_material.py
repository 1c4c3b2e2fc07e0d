"""The text of the experiments: every line in one part, the same network every time."""

import pytest
import torch

from training.study.material import WIDTH, Material


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("material")
    text = folder / "some.txt"
    text.write_text("".join(f"line {n} of some text\n" for n in range(1000)))
    return Material.prepare(folder, text, vocab_size=300)


def test_of_every_500_lines_the_last_50_are_validation(material: Material) -> None:
    assert material.name == "some.txt"
    parts = {
        name: material.tokenizer.decode(
            [int(id) for id in shard.read() if not material.tokenizer.is_control(int(id))]
        ).split("\n")
        for name, shard in (("train", material.train), ("valid", material.valid))
    }
    numbers = {
        name: [int(line.split()[1]) for line in lines if line] for name, lines in parts.items()
    }
    assert numbers["valid"] == [*range(450, 500), *range(950, 1000)]
    assert numbers["train"] == [n for n in range(1000) if n % 500 < 450]


def test_a_fresh_network_is_the_same_one_every_time(material: Material) -> None:
    torch.manual_seed(7)
    one, other = material.model("lstm"), material.model("lstm")
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    assert one.config.hidden_sizes == (WIDTH,)


def test_changes_reach_the_settings_and_nothing_else_is_moved(material: Material) -> None:
    config = material.config(loop={"bptt": 8}, optimizer={"lr": 0.5})
    plain = material.config()
    assert (config.loop.bptt, config.optimizer.lr) == (8, 0.5)
    assert (plain.loop.bptt, plain.optimizer.lr) == (32, 4e-3)
    assert config.optimizer.clip == plain.optimizer.clip
