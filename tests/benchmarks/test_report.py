from typing import Any

from benchmarks.report import GOALS, Goal, goals_table, profile_table, read_result


def test_a_goal_is_a_floor_or_a_ceiling() -> None:
    floor = Goal(what="speed", benchmark="engine", key="k", bound=6)
    ceiling = Goal(what="share", benchmark="engine", key="k", bound=0.3, at_least=False)
    assert [floor.is_met(v) for v in (5.9, 6, 7)] == [False, True, True]
    assert [ceiling.is_met(v) for v in (0.2, 0.3, 0.31)] == [True, True, False]


def test_every_goal_has_a_row_with_its_figure() -> None:
    def read(_: str) -> dict[str, Any]:
        return {goal.key: 5.12345 for goal in GOALS} | {"date": "2026-11-23T18:46:25+00:00"}

    _, _, *rows = goals_table(read).splitlines()
    assert len(rows) == len(GOALS)
    assert rows[0] == (
        "| one stream, the service on one core, against llama-server "
        "| `one_stream_vs_llama_server` | at least 2 | 5.123 | met | 2026-11-23 |"
    )
    assert " | **missed** | " in rows[1]


def test_what_was_not_measured_is_said_to_be() -> None:
    _, _, row, *_ = goals_table(lambda _: {}).splitlines()
    assert row.endswith("| at least 2 | not measured |  |  |")


def test_a_profile_has_a_column_for_each_load_and_time() -> None:
    def profile(kernel: float) -> dict[str, Any]:
        each = {"kernel": kernel, "all": 100.0}
        return {"one_stream_us_per_token": each, "streams64_us_per_token": each}

    head, _, kernel, everything = profile_table(profile(50), profile(25)).splitlines()
    assert head.count("before") == head.count("now") == 2
    assert kernel == "| kernel | 50 (50%) | 25 (25%) | 50 (50%) | 25 (25%) |"
    assert everything.startswith("| all | 100 (100%) |")
    assert "before" not in profile_table({}, profile(25))
    assert profile_table({}, {}) == "not measured"


def test_what_was_kept_is_a_number() -> None:
    kept = [goal for goal in GOALS if goal.key in read_result(goal.benchmark)]
    assert len(kept) >= 8  # a key that is misspelled, or is published no more, is not found
    for goal in kept:
        assert isinstance(read_result(goal.benchmark)[goal.key], int | float)
