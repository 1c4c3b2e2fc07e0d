"""Who gets rows: fairness, priority, preemption, and books that always agree."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.request import Priority
from service.engine.scheduler import Scheduler
from tests.service.engine.simulated_rows import ENDLESS, Work, simulate

ROOT = Path(__file__).resolve().parents[3]


# Among equals


def test_rows_are_shared_evenly_whoever_came_first() -> None:
    rows = simulate(8)
    rows.add("large", [ENDLESS] * 100)
    rows.add("middle", [ENDLESS] * 10)
    rows.add("small", [ENDLESS] * 2)
    rows.schedule()
    assert rows.shares == {"large": 3, "middle": 3, "small": 2}


def test_a_newcomer_has_the_first_row_that_falls_free() -> None:
    rows = simulate(4)
    for name in "abcd":
        rows.add(name, [3])
    rows.step()
    rows.add("late", [1])
    for _ in range(3):
        assert not rows.shares["late"]
        rows.step()
    assert [sequence.request_id for sequence in rows.finished].count("late") == 1


def test_wide_requests_give_a_newcomer_its_first_row_at_once() -> None:
    """Four requests of 128 continuations each, and one of a single one."""
    rows = simulate(128, wide_rows=4)
    for name in "abcd":
        rows.add(name, [ENDLESS] * 128)
    rows.step()
    assert rows.shares == dict.fromkeys("abcd", 32)
    rows.add("late", [5])
    for _ in range(5):
        rows.step()
    assert rows.finished[0].request_id == "late"
    for _ in range(rows.scheduler.calm_steps + 1):
        rows.step()
    assert rows.shares == dict.fromkeys("abcd", 32)


def test_wide_requests_hold_few_rows_while_others_run() -> None:
    """A step costs the more the more rows it has, and a short request waits for each of its own."""
    rows = simulate(128, wide_rows=4)
    rows.add("wide", [ENDLESS] * 128)
    rows.step()
    rows.add("short", [4])
    for _ in range(4):
        rows.step()
        assert rows.shares["wide"] == rows.scheduler.wide_rows == 4
    assert rows.finished[0].request_id == "short"
    rows.step()
    assert rows.shares == {"wide": 4}, "the next short one may come at once"
    for _ in range(rows.scheduler.calm_steps + 1):
        rows.step()
    assert rows.shares == {"wide": 128}


def test_wide_requests_have_a_row_each_however_many_they_are() -> None:
    rows = simulate(64, wide_rows=4)
    rows.add("stream", [ENDLESS])
    for number in range(10):
        rows.add(f"wide {number}", [ENDLESS] * 20)
        rows.step()
    assert sorted(rows.shares.values()) == [1] * 11


def test_what_became_narrow_is_not_kept_back() -> None:
    rows = simulate(64, wide_rows=4)
    rows.add("stream", [ENDLESS])
    rows.add("wide", [10] * 6 + [20] * 8)
    rows.step()
    assert rows.shares == {"stream": 1, "wide": 4}
    while rows.finished == []:
        rows.step()
    rows.step()
    rows.step()
    assert rows.shares == {"stream": 1, "wide": 4}
    for _ in range(40):
        rows.step()
    assert rows.shares == {"stream": 1}


def test_no_more_rows_than_a_request_itself_allows() -> None:
    rows = simulate(64)
    rows.scheduler.add_request("search", Priority.INTERACTIVE, most_rows=3)
    rows.scheduler.push(search := [Work("search", 5) for _ in range(7)])
    rows.add("other", [ENDLESS] * 6)
    rows.step()
    assert rows.shares == {"search": 3, "other": 6}
    rows.step()
    assert rows.scheduler.to_preempt() == []
    for _ in range(15):
        rows.step()
    assert rows.finished == search


def test_a_wide_request_keeps_all_rows_that_nobody_else_waits_for() -> None:
    rows = simulate(8)
    rows.add("wide", [ENDLESS] * 20)
    rows.step()
    held = list(rows.rows)
    for _ in range(5):
        rows.step()
    assert rows.rows == held


def test_a_wide_request_gives_up_what_exceeds_its_share_while_others_wait() -> None:
    rows = simulate(8)
    rows.add("wide", [ENDLESS] * 20)
    rows.step()
    rows.add("other", [ENDLESS] * 20)
    rows.step()
    assert rows.shares == {"wide": 6, "other": 2}  # a quarter of the rows is anybody's


@given(
    widths=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    max_num_seqs=st.integers(1, 8),
    wide_rows=st.integers(1, 8),
)
def test_every_request_runs_as_soon_as_there_are_rows_for_all(
    widths: list[int], max_num_seqs: int, wide_rows: int
) -> None:
    rows = simulate(max_num_seqs, wide_rows=wide_rows)
    for k, width in enumerate(widths):
        rows.add(str(k), [ENDLESS] * width)
        rows.step()
        assert len(rows.shares) == min(k + 1, max_num_seqs)


def test_requests_of_single_units_run_in_the_order_of_their_arrival() -> None:
    rows = simulate(2)
    arrivals = [f"request {k}" for k in range(7)]
    for name in arrivals:
        rows.add(name, [2])
    while rows.scheduler.has_work:
        rows.step()
    assert [sequence.request_id for sequence in rows.finished] == arrivals


def test_a_requests_own_units_run_in_the_order_given_and_the_latest_pushed_first() -> None:
    rows = simulate(1)
    first, second = rows.add("tree", [1, 1])
    rows.step()
    children = [Work("tree", 1), Work("tree", 1)]
    rows.scheduler.push(children)
    while rows.scheduler.has_work:
        rows.step()
    assert rows.finished == [first, *children, second]


@given(
    counts=st.lists(st.integers(1, 5), min_size=2, max_size=6),
    max_num_seqs=st.integers(1, 5),
    quantum=st.integers(1, 7),
    wide_rows=st.integers(1, 5),
    priority=st.sampled_from(Priority),
)
def test_no_request_waits_longer_than_all_others_take_their_turns(
    counts: list[int], max_num_seqs: int, quantum: int, wide_rows: int, priority: Priority
) -> None:
    rows = simulate(max_num_seqs, quantum, wide_rows=wide_rows)
    for k, sequences in enumerate(counts):
        rows.add(str(k), [ENDLESS] * sequences, priority)
    turn = quantum * len(counts) + 1
    for _ in range(2):
        served: set[str] = set()
        for _ in range(turn):
            rows.step()
            served |= set(rows.shares)
        assert len(served) == len(counts)


# Priority


def test_interactive_units_go_first() -> None:
    rows = simulate(2)
    rows.add("bulk", [ENDLESS] * 4, Priority.BULK)
    rows.add("chat", [ENDLESS] * 2)
    rows.schedule()
    assert rows.shares == {"chat": 2}


def test_bulk_work_has_all_rows_while_it_is_alone() -> None:
    rows = simulate(8, bulk_rows=2)
    rows.add("bulk", [ENDLESS] * 100, Priority.BULK)
    rows.schedule()
    assert rows.shares == {"bulk": 8}


def test_bulk_work_makes_room_within_a_step_of_an_interactive_arrival() -> None:
    rows = simulate(8, bulk_rows=2)
    rows.add("bulk", [ENDLESS] * 100, Priority.BULK)
    for _ in range(5):
        rows.step()
    rows.add("chat", [4])
    rows.schedule()
    assert rows.shares == {"bulk": 2, "chat": 1}


def test_bulk_work_gets_its_rows_back_when_the_stream_has_ended() -> None:
    rows = simulate(8, bulk_rows=2)
    rows.add("bulk", [ENDLESS] * 100, Priority.BULK)
    rows.add("chat", [4])
    for _ in range(4):
        rows.step()
        assert rows.shares["bulk"] == 2
    rows.remove("chat")
    rows.step()
    assert rows.shares == {"bulk": 2}, "who chats may be back at once"
    for _ in range(rows.scheduler.calm_steps + 1):
        rows.step()
    assert rows.shares == {"bulk": 8}


def test_a_wide_request_has_all_rows_at_once_after_its_own_prompt() -> None:
    rows = simulate(64, wide_rows=4)
    rows.add("wide", [3])
    for _ in range(3):
        rows.step()
    rows.scheduler.push([Work("wide") for _ in range(64)])
    rows.step()
    assert rows.shares == {"wide": 64}


def test_the_newest_bulk_units_make_room() -> None:
    """The longest served are nearest to their end."""
    rows = simulate(4, bulk_rows=2)
    old = rows.add("old", [ENDLESS] * 2, Priority.BULK)
    rows.step()
    rows.add("new", [ENDLESS] * 2, Priority.BULK)
    rows.step()
    rows.add("chat", [1])
    rows.schedule()
    assert [sequence for sequence in rows.rows if sequence.request_id != "chat"] == old


def test_shares_by_default() -> None:
    assert Scheduler(64).bulk_rows == 16
    assert Scheduler(1).bulk_rows == 1
    assert (Scheduler(128).wide_rows, Scheduler(512).wide_rows) == (4, 16)


def test_bulk_requests_take_turns_in_the_rows_that_a_stream_leaves_them() -> None:
    """Rows that bulk work may not use are no reason to let one bulk request keep the others."""
    rows = simulate(16, quantum=10, bulk_rows=2)
    rows.add("chat", [ENDLESS])
    rows.add("first", [ENDLESS] * 5, Priority.BULK)
    rows.step()
    rows.add("second", [ENDLESS] * 5, Priority.BULK)
    served = set()
    for _ in range(12):
        rows.step()
        served |= set(rows.shares)
    assert "second" in served


# Preemption


def test_a_unit_gives_up_its_row_after_its_quantum_if_another_waits() -> None:
    rows = simulate(1, quantum=5)
    (long,) = rows.add("long", [ENDLESS])
    (short,) = rows.add("short", [1])
    for _ in range(5):
        rows.step()
        assert rows.rows == [long]
    rows.step()
    assert rows.finished == [short]
    rows.step()
    assert rows.rows == [long]


def test_a_unit_keeps_its_row_if_nobody_waits() -> None:
    rows = simulate(2, quantum=5)
    rows.add("only", [ENDLESS])
    for _ in range(50):
        rows.step()
        assert rows.scheduler.to_preempt() == []


def test_a_unit_keeps_its_row_if_a_free_one_does() -> None:
    rows = simulate(3, quantum=5)
    rows.add("first", [ENDLESS] * 2)
    for _ in range(10):
        rows.step()
    rows.add("second", [ENDLESS])
    assert rows.scheduler.to_preempt() == []
    rows.schedule()
    assert rows.shares == {"first": 2, "second": 1}


def test_no_more_rows_are_given_up_than_are_wanted() -> None:
    rows = simulate(4, quantum=5)
    sequences = rows.add("first", [ENDLESS] * 4)
    for _ in range(10):
        rows.step()
    rows.add("second", [ENDLESS])
    assert rows.scheduler.to_preempt() == sequences[:1]


def test_an_interactive_unit_gives_no_row_to_bulk_work() -> None:
    rows = simulate(1, quantum=5)
    rows.add("chat", [ENDLESS])
    rows.add("bulk", [ENDLESS], Priority.BULK)
    for _ in range(50):
        rows.step()
        assert rows.shares == {"chat": 1}


# Leaving


def test_a_removed_request_leaves_nothing_behind() -> None:
    rows = simulate(2)
    rows.add("gone", [ENDLESS] * 5)
    (kept,) = rows.add("kept", [ENDLESS])
    rows.step()
    rows.remove("gone")
    assert rows.rows == rows.scheduler.running == [kept]
    assert rows.scheduler.num_waiting == 0
    rows.remove("kept")
    assert not rows.scheduler.has_work


def test_removing_an_unknown_request_does_nothing() -> None:
    assert Scheduler[Work](1).remove_request("unknown") == []


def test_a_withdrawn_unit_never_runs() -> None:
    rows = simulate(1)
    first, second, third = rows.add("request", [1, 1, 1])
    rows.scheduler.withdraw(second)
    while rows.scheduler.has_work:
        rows.step()
    assert rows.finished == [first, third]


def test_a_held_request_gives_its_rows_to_others_until_it_is_resumed() -> None:
    rows = simulate(2)
    rows.add("held", [9, 9, 9])
    rows.step()
    rows.hold("held")
    assert not rows.scheduler.has_work
    rows.add("other", [1, 1])
    rows.step()
    assert Counter(work.request_id for work in rows.finished) == {"other": 2}
    rows.scheduler.resume("held")
    rows.step()
    assert rows.shares == {"held": 2}


@pytest.mark.parametrize("module", ["scheduler", "prefix_tree"])
def test_scheduling_needs_neither_torch_nor_kernels_nor_weights(module: str) -> None:
    heavy = ["torch", "onnxruntime", "onnx", "safetensors", "sentencepiece", "fastapi"]
    code = f"import sys, service.engine.{module}; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr
