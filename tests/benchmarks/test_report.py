from typing import Any

from benchmarks.report import GOALS, Goal, goals_table, read_result


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
        "| one step for one sequence, against `nn.LSTM` | `step_b1_vs_nn_lstm` | at least 45 "
        "| 5.123 | **missed** | 2026-11-23 |"
    )
    assert " | met | " in rows[4]


def test_the_kept_results_have_all_keys() -> None:
    for goal in GOALS:
        assert isinstance(read_result(goal.benchmark)[goal.key], int | float)
