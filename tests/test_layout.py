"""tests/ mirrors the source: each module with behaviour of its own has its own test file."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("lstm_serve", "models", "service", "training")

# Modules that need no test file: nothing in them could be wrong by itself.
NOTHING_OF_ITS_OWN = {
    "service/api/openai/responses.py": "schemas; answers are held to them in test_chat",
    "service/api/openai/routes.py": "two routes, each one call of what is tested",
    "service/results.py": "records; test_text_scorer and test_language_model compare them whole",
    "training/recipes/kinds.py": "system lines: data",
    "training/cli/adapt.py": "options handed on to `adapt`; test_adapt runs the command",
    "training/cli/draw.py": "options handed on to `draw`; test_draw runs the command",
    "training/cli/export.py": "options handed on to `export`; test_export_sherpa runs the command",
    "training/cli/study.py": "options handed on to `run_study`; study/test_page runs the command",
    "training/cli/train.py": "options handed on to `run_training`; test_run runs the command",
    "training/study/run.py": "the experiments one after another; study/test_page runs them all",
}

# Modules that are only seen from outside: the test that does it.
TESTED_FROM_OUTSIDE = {
    "models/ngram_scores.py": "tests/benchmarks/test_ngram_scores.py",
    "service/cli/list_models.py": "tests/service/test_shared_models.py",
    "service/cli/pull.py": "tests/service/test_shared_models.py",
    "service/engine/hosts/commands.py": "tests/service/engine/hosts/test_worker.py",
    "service/engine/hosts/process_worker.py": "tests/service/engine/hosts/test_process.py",
    "service/hidden_arguments.py": "tests/service/test_serve_process.py",
    "service/http/call.py": "tests/service/http/test_middleware.py",
    "service/http/page_headers.py": "tests/service/test_app.py",
    "service/http/prefix.py": "tests/service/http/test_middleware.py",
    "service/scored_lines.py": "tests/service/cli/test_score.py",
    "service/work_metrics.py": "tests/service/test_metrics.py",
    "training/onnx_graph.py": "tests/training/test_export.py",
    "training/report_forms.py": "tests/training/test_report.py",
}

# Test files that belong to no single module: what they hold together.
SEVERAL_MODULES = {
    "tests/service/api/openai/test_echo.py": "echoed prompts, over completions and chat",
    "tests/service/api/test_any_body.py": "any body of known names, over every route",
    "tests/service/api/test_rescore_mixtures.py": "a part of api/rescore.py",
    "tests/service/api/test_rescore_refusals.py": "a part of api/rescore.py",
    "tests/service/api/test_score_gaps.py": "a part of api/score.py",
    "tests/service/asr/formats/test_in_the_wild.py": "files as editors leave them, every format",
    "tests/service/asr/formats/test_streaming.py": "constant memory, over every format",
    "tests/service/engine/hosts/test_shared_table.py": "one input table in several processes",
    "tests/service/engine/sampling/test_random_numbers.py": "a part of sampling/draw.py",
    "tests/service/engine/test_bursts.py": "bursts, over engine, scheduler and worker",
    "tests/service/engine/test_engine_aborts.py": "a part of engine/engine.py",
    "tests/service/engine/test_engine_cache.py": "a part of engine/engine.py",
    "tests/service/engine/test_engine_continuations.py": "a part of engine/engine.py",
    "tests/service/engine/test_engine_guides.py": "a part of engine/engine.py",
    "tests/service/engine/test_engine_prompts.py": "a part of engine/engine.py",
    "tests/service/engine/test_exactness.py": "the same bits in any batch, cached, resumed",
    "tests/service/engine/test_fairness.py": "short requests beside others, over the engine",
    "tests/service/engine/test_scheduler_machine.py": "engine/scheduler.py as a state machine",
    "tests/service/engine/test_statistics.py": "the tests' own statistics",
    "tests/service/engine/test_telemetry.py": "nothing is sent: what a process opens",
    "tests/service/test_registry_reload.py": "a part of registry.py",
    "tests/service/test_serve_process.py": "a real server process from its command to its end",
    "tests/training/test_adaptation.py": "adapting against training from scratch",
    "tests/training/test_adaptive_softmax.py": "one softmax from network to checkpoint",
    "tests/training/test_dialogues.py": "from dialogues to what the loss is taken on",
    "tests/training/test_first_steps.py": "what a newcomer types",
    "tests/training/test_full_disk.py": "saving on a full disk, whoever saves",
    "tests/training/test_gpu.py": "training on a GPU",
    "tests/training/test_known_entropy.py": "a source of known entropy is learnt to its end",
    "tests/training/test_memory.py": "memory of preparing and training",
    "tests/training/test_resume.py": "a run that was cut off is the run that was not",
    "tests/training/test_sherpa_onnx.py": "exported models inside sherpa-onnx",
}


def mirror(module: Path) -> Path:
    """The test file of a module; a package's own code is tested under the package's name."""
    name = module.parent.name if module.stem == "__init__" else module.stem.strip("_")
    return "tests" / module.parent / f"test_{name}.py"


def has_code(module: Path) -> bool:
    """More than a package's docstring."""
    return module.stem != "__init__" or (ROOT / module).read_text("utf-8").count("\n") > 1


MODULES = [
    path.relative_to(ROOT)
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if has_code(path.relative_to(ROOT))
]
TESTS = [
    path.relative_to(ROOT)
    for package in PACKAGES
    for path in sorted((ROOT / "tests" / package).rglob("test_*.py"))
]


def test_every_module_has_its_test_file_or_a_reason() -> None:
    reasons = NOTHING_OF_ITS_OWN | TESTED_FROM_OUTSIDE
    missing = {
        str(module): str(mirror(module))
        for module in MODULES
        if not (ROOT / mirror(module)).exists() and str(module) not in reasons
    }
    assert missing == {}, "write these, or give the reason in this file"


def test_every_test_file_mirrors_a_module_or_is_listed() -> None:
    mirrors = {mirror(module) for module in MODULES}
    strays = [str(test) for test in TESTS if test not in mirrors]
    assert sorted(SEVERAL_MODULES) == sorted(strays)


@pytest.mark.parametrize("listed", [NOTHING_OF_ITS_OWN, TESTED_FROM_OUTSIDE])
def test_no_reason_is_stale(listed: dict[str, str]) -> None:
    stale = [
        name for name in listed if Path(name) not in MODULES or (ROOT / mirror(Path(name))).exists()
    ]
    assert stale == []


def test_what_tests_from_outside_is_there() -> None:
    assert [test for test in TESTED_FROM_OUTSIDE.values() if not (ROOT / test).exists()] == []
