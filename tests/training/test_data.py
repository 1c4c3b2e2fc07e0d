from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.corpus import CorpusError
from training.data import Position, TokenStreams, window_length
from training.shards import Shard, token_dtype

VOCAB = 100


def streams(
    tmp_path: Path, count: int, batch_size: int, seed: int = 0, mine: slice = slice(None)
) -> TokenStreams:
    """Tokens that tell their place: 0, 1, 2, ..."""
    path = tmp_path / "tokens"
    np.arange(count, dtype=token_dtype(VOCAB)).tofile(path)
    return TokenStreams(Shard(path, None, VOCAB), batch_size, seed, mine)


def test_windows_follow_one_another_and_targets_are_the_next_inputs(tmp_path: Path) -> None:
    data = streams(tmp_path, count=32, batch_size=3)  # three streams of 10, two tokens left over
    seen: list[NDArray[np.int64]] = []
    while not data.ended:
        window = data.window(4)
        assert window.rows is None
        assert window.num_counted == window.inputs.size
        assert (window.targets == window.inputs.flatten() + 1).all()
        seen.append(window.inputs)
    assert [len(window) for window in seen] == [4, 4, 1]
    joined = np.concatenate(seen)
    for stream in range(3):
        assert joined[:, stream].tolist() == list(range(10 * stream, 10 * stream + 9))


def test_later_passes_cut_the_streams_elsewhere_but_miss_nothing(tmp_path: Path) -> None:
    data = streams(tmp_path, count=40, batch_size=4, seed=3)
    starts = set()
    for epoch in range(5):
        first = data.window(9).inputs
        assert data.position.epoch == epoch
        starts.add(int(first[0, 0]))
        joined = first.T.flatten().tolist()
        assert len(set(joined)) == 36  # all but the last token of each stream
        for stream in first.T.tolist():
            assert [(b - a) % 40 for a, b in pairwise(stream)] == [1] * 8
    assert len(starts) > 2


def test_a_position_is_all_that_resuming_needs(tmp_path: Path) -> None:
    data = streams(tmp_path, count=50, batch_size=2, seed=5)
    windows = [data.window(7).inputs.tolist() for _ in range(12)]
    other = streams(tmp_path, count=50, batch_size=2, seed=5)
    for _ in range(5):
        other.window(7)
    again = streams(tmp_path, count=50, batch_size=2, seed=5)
    again.position = Position(other.position.epoch, other.position.offset)
    assert [again.window(7).inputs.tolist() for _ in range(7)] == windows[5:]


def test_too_few_tokens_for_the_batch_are_told(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="10 tokens, too few for batch_size 8: lower"):
        streams(tmp_path, count=10, batch_size=8)


def test_positions_that_do_not_count_have_no_target(tmp_path: Path) -> None:
    tokens, counted = tmp_path / "tokens", tmp_path / "counted"
    np.arange(20, dtype=np.uint16).tofile(tokens)
    np.array([0, 1] * 5 + [0] * 7 + [1] * 3, np.uint8).tofile(counted)
    data = TokenStreams(Shard(tokens, counted, VOCAB), batch_size=2, seed=0)
    window = data.window(9)
    assert window.rows is not None
    flat = window.inputs.flatten()
    assert window.targets.tolist() == (flat[window.rows] + 1).tolist()
    assert sorted(window.targets.tolist()) == [1, 3, 5, 7, 9, 17, 18, 19]
    assert window.num_counted == 8


def test_processes_share_the_streams_and_know_how_much_counts_in_all(tmp_path: Path) -> None:
    whole = streams(tmp_path, count=40, batch_size=4, seed=2)
    halves = [streams(tmp_path, 40, 4, seed=2, mine=s) for s in (slice(0, 2), slice(2, 4))]
    for _ in range(5):
        window, parts = whole.window(6), [half.window(6) for half in halves]
        assert (np.hstack([part.inputs for part in parts]) == window.inputs).all()
        assert [part.num_counted for part in parts] == [window.num_counted] * 2
    assert [half.num_mine for half in halves] == [2, 2]


def test_window_lengths_vary_around_bptt_and_depend_on_the_step_alone() -> None:
    assert window_length(70, False, 1, 5) == 70
    lengths = [window_length(70, True, 1, step) for step in range(4000)]
    assert lengths == [window_length(70, True, 1, step) for step in range(4000)]
    assert lengths != [window_length(70, True, 2, step) for step in range(4000)]
    assert min(lengths) >= 5
    halved = [length for length in lengths if length < 52]
    assert 0.03 < len(halved) / 4000 < 0.07
    assert np.mean(halved) == pytest.approx(35, abs=1.5)
    whole = [length for length in lengths if length >= 52]
    assert np.mean(whole) == pytest.approx(70, abs=0.5)
    assert np.std(whole) == pytest.approx(5, abs=0.5)
    assert min(window_length(6, True, 1, step) for step in range(500)) == 5
