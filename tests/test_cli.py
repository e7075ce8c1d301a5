"""The contract of the command line: forms, files, streams and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pytest
import yaml
from command_line import SCENARIO, run

import cli
from optimizer.commands.scenarios import TEMPLATES
from optimizer.layout import Layout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the scenario and its plan."""
    path = tmp_path_factory.mktemp("work")
    (path / "tiny.yaml").write_text(SCENARIO, encoding="utf-8")
    solved = run("solve", path / "tiny.yaml", "-o", "json", "-O", path / "tiny.plan.json")
    assert solved.exit_code == 0, solved.output
    return path


@pytest.fixture
def plan(folder: Path) -> Path:
    return folder / "tiny.plan.json"


def commands(command: click.Command = cli.main, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command with its words, groups too."""
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands(inner, f"{path} {name}".strip())


COMMANDS = dict(commands())


# ── Help ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_there_are_these_commands_and_no_others() -> None:
    assert set(cli.main.commands) == {
        "init", "calibrate", "check", "schema", "solve", "explain", "pareto", "verify", "memory", "perf", "catalog",
        "export", "compare", "simulate", "report", "batch",
    }  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS)
def test_help_ends_in_an_example_of_the_command(words: str) -> None:
    result = run(*words.split(), "--help")
    assert result.exit_code == 0
    example = result.output.rstrip().splitlines()[-1].strip()
    assert example.startswith(f"gpuplan {words}".strip())


@pytest.mark.parametrize("words", [words for words, one in COMMANDS.items() if words not in ("", "batch", "catalog")])
def test_every_command_takes_the_common_options(words: str) -> None:
    options = {name for one in COMMANDS[words].params for name in one.opts}
    assert {"--catalog", "-o", "-O"} <= options


@pytest.mark.parametrize("words", COMMANDS)
def test_the_example_in_a_help_text_is_one_that_parses(words: str) -> None:
    """Options and choices exist; whether it runs depends on files, which the tests below have."""
    example = (COMMANDS[words].epilog or "").splitlines()[-1].split("&&")[-1].split()
    command, parent = cli.main, click.Context(cli.main)
    rest = example[1:]
    while isinstance(command, click.Group) and rest and rest[0] in command.commands:
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(command.name, list(rest), parent=parent)


def test_the_version_is_the_distributions() -> None:
    from importlib.metadata import version

    assert run("--version").output == f"gpuplan {version('gpuplan')}\n"


def test_help_answers_at_once_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, cli\n"
        "try: cli.main(['--help'], prog_name='gpuplan')\n"
        "except SystemExit: pass\n"
        "sys.exit(' '.join({'ortools', 'numpy', 'pydantic', 'rich', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


# ── init, check, schema ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("template", TEMPLATES)
def test_init_writes_a_template_and_never_overwrites(template: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    made = tmp_path / f"{template}.yaml"
    assert run("init", "--template", template).exit_code == 0
    assert "yaml-language-server: $schema" in made.read_text(encoding="utf-8")
    made.write_text("mine", encoding="utf-8")
    again = run("init", "--template", template)
    assert again.exit_code == 3
    assert "exists" in again.stderr
    assert made.read_text(encoding="utf-8") == "mine"


def test_check_reports_every_fault_of_every_file(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(SCENARIO, encoding="utf-8")
    (tmp_path / "one.yaml").write_text(SCENARIO.replace("requests:", "requsts:"), encoding="utf-8")
    (tmp_path / "two.yaml").write_text(SCENARIO.replace("gpu: l4", "gpu: l44"), encoding="utf-8")
    result = run("check", *(tmp_path / f"{name}.yaml" for name in ("good", "one", "two")))
    assert result.exit_code == 3
    assert result.stdout == f"{tmp_path / 'good.yaml'}: sound (1 workload, 1 offer)\n"
    assert "one.yaml:5:5: error" in result.stderr
    assert "two.yaml:14:13: error" in result.stderr


def test_check_says_what_solve_will_refuse(tmp_path: Path) -> None:
    folder = tmp_path / ("long-" * 30)  # wider than a table in a pipe: places must stay in one line all the same
    folder.mkdir()
    file = folder / "later.yaml"
    file.write_text(SCENARIO + "objective: carbon\n", encoding="utf-8")
    checked = run("check", file)
    assert checked.exit_code == 0
    assert f"{file}:15:1: solve will refuse this: " in checked.stdout
    solved = run("solve", file)
    assert solved.exit_code == 3
    assert "not supported yet" in solved.stderr
    assert "later.yaml:15" in solved.stderr


def test_check_reads_stdin() -> None:
    assert run("check", "-", input=SCENARIO).exit_code == 0
    refused = run("check", "-", input=b"\xff\xfe\x00")
    assert refused.exit_code == 3
    assert "not UTF-8" in refused.stderr


@pytest.mark.parametrize("kind", ["scenario", "plan", "topology"])
def test_schema_prints_a_json_schema(kind: str) -> None:
    assert json.loads(run("schema", kind).stdout)["$schema"].startswith("https://json-schema.org/")


# ── solve ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_solve_prints_a_table_json_or_yaml(folder: Path, plan: Path) -> None:
    assert "$0.71" in run("solve", folder / "tiny.yaml").stdout
    printed = json.loads(run("solve", folder / "tiny.yaml", "-o", "json").stdout)
    written = json.loads(plan.read_text(encoding="utf-8"))
    as_yaml = yaml.safe_load(run("solve", folder / "tiny.yaml", "-o", "yaml").stdout)
    for one in (printed, written, as_yaml):
        one.pop("solve_seconds")
    assert printed == written == as_yaml


def test_a_files_ending_decides_its_form_and_the_table_is_printed_too(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "tiny.plan.json"
    result = run("solve", folder / "tiny.yaml", "-O", target)
    assert "per hour" in result.stdout
    assert json.loads(target.read_text(encoding="utf-8"))["status"] == "optimal"
    assert [path.name for path in target.parent.iterdir()] == ["tiny.plan.json"]


def test_solve_reads_stdin() -> None:
    assert json.loads(run("solve", "-", "-o", "json", input=SCENARIO).stdout)["scenario"] == "tiny"


@pytest.mark.parametrize("solver", ["scip", "highs"])
def test_solve_writes_the_program_for_other_solvers(folder: Path, tmp_path: Path, solver: str) -> None:
    target = tmp_path / "tiny.lp"
    assert run("solve", folder / "tiny.yaml", "--solver", solver, "--write-lp", target).exit_code == 0
    assert "gpu_slots" in target.read_text(encoding="utf-8")


def test_nothing_is_written_where_a_folder_stands(folder: Path, tmp_path: Path) -> None:
    result = run("solve", folder / "tiny.yaml", "-O", tmp_path)
    assert result.exit_code == 3
    assert "is a folder" in result.stderr


def test_an_infeasible_scenario_exits_4_and_says_why(tmp_path: Path) -> None:
    file = tmp_path / "poor.yaml"
    file.write_text(SCENARIO + "budget: {monthly: $1}\n", encoding="utf-8")
    table = run("solve", file)
    assert table.exit_code == 4
    assert "monthly_budget" in table.stdout
    assert json.loads(run("solve", file, "-o", "json").stdout)["status"] == "infeasible"


def test_a_spent_time_limit_exits_5(folder: Path) -> None:
    result = run("solve", folder / "tiny.yaml", "--time-limit", "0ms", "-o", "json")
    assert result.exit_code == 5
    assert json.loads(result.stdout)["status"] == "no_plan"


def test_an_interrupted_solve_prints_its_best_plan_and_exits_130(folder: Path, plan: Path, monkeypatch: Any) -> None:
    best = Layout.model_validate_json(plan.read_text(encoding="utf-8"))
    best = best.model_copy(update={"status": "feasible", "warnings": ("interrupted; this is the best plan so far",)})
    monkeypatch.setattr("optimizer.api.optimize", lambda *_, **__: best)
    result = run("solve", folder / "tiny.yaml", "-o", "json")
    assert result.exit_code == 130
    assert json.loads(result.stdout)["status"] == "feasible"


def test_an_interrupt_anywhere_else_exits_130(folder: Path, monkeypatch: Any) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("catalog.loader.load_catalog", interrupted)
    result = run("check", folder / "tiny.yaml")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "interrupted\n")


# ── explain, pareto, alternatives ────────────────────────────────────────────────────────────────────────────────────


def test_explain_says_what_else_there_is_and_what_it_costs(plan: Path) -> None:
    table = run("explain", plan)
    assert table.exit_code == 0, table.output
    assert "Why these replicas" in table.stdout
    assert "How far the decision holds" in table.stdout
    of_one = json.loads(run("explain", plan, "chat", "-o", "json").stdout)
    assert of_one["workload"] == "chat"
    assert of_one["schema_version"] == 1
    assert run("explain", plan, "chat", "-o", "json").stdout == run("explain", plan, "chat", "-o", "json").stdout


def test_explain_refuses_a_workload_that_is_not_there(plan: Path) -> None:
    result = run("explain", plan, "chatt")
    assert result.exit_code == 3
    assert "no workload chatt; there is chat" in result.stderr


def test_explain_repeats_why_there_is_no_plan(tmp_path: Path) -> None:
    file, target = tmp_path / "poor.yaml", tmp_path / "poor.plan.json"
    file.write_text(SCENARIO + "budget: {monthly: $1}\n", encoding="utf-8")
    assert run("solve", file, "-O", target).exit_code == 4
    result = run("explain", target)
    assert result.exit_code == 0
    assert "monthly_budget" in result.stdout


@pytest.mark.parametrize("against", ["latency", "quality", "power", "gpu-types"])
def test_pareto_prints_and_draws_a_front(against: str, folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "front.svg"
    result = run("pareto", folder / "tiny.yaml", "--against", against, "--svg", picture)
    assert result.exit_code == 0, result.output
    assert "$0.71" in result.stdout
    assert ElementTree.parse(picture).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    points = json.loads(run("pareto", folder / "tiny.yaml", "--against", against, "-o", "json").stdout)["points"]
    assert all(point["is_proven"] for point in points)


def test_pareto_refuses_what_solve_refuses(tmp_path: Path) -> None:
    file = tmp_path / "later.yaml"
    file.write_text(SCENARIO + "objective: carbon\n", encoding="utf-8")
    assert run("pareto", file).exit_code == 3


def test_alternatives_stand_in_the_plan_and_in_the_table(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(SCENARIO.replace("[bf16]", "[bf16, fp8]"), encoding="utf-8")
    assert "The next best plans" in run("solve", file, "--alternatives", "3").stdout
    layout = json.loads(run("solve", file, "--alternatives", "3", "-o", "json").stdout)
    (other,) = layout["alternatives"]  # there are two formats, so one other structure
    assert len(other["gives_up"]) == len(other["uses_instead"]) == 1


# ── Plans ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_verify_accepts_what_solve_wrote(plan: Path) -> None:
    assert run("verify", plan).exit_code == 0
    assert json.loads(run("verify", "-", "-o", "json", input=plan.read_bytes()).stdout)["sound"] is True


def test_a_plan_with_too_few_replicas_is_not_sound_and_goes_nowhere(plan: Path, tmp_path: Path) -> None:
    data = json.loads(plan.read_text(encoding="utf-8"))
    data["servers"][0]["count"] = 0
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(data), encoding="utf-8")
    verified = run("verify", broken)
    assert verified.exit_code == 1
    assert "not sound" in verified.stdout
    exported = run("export", broken, "--to", "topology", "-O", tmp_path / "out")
    assert exported.exit_code == 1
    assert not (tmp_path / "out").exists()
    assert run("compare", plan, broken).exit_code == 1


def test_compare_puts_plans_side_by_side(plan: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.json"
    again.write_bytes(plan.read_bytes())
    result = run("compare", plan, again)
    assert result.exit_code == 0
    assert "at the same cost, $0.71 per hour" in " ".join(result.stdout.split())
    assert run("compare", plan).exit_code == 2


def test_export_names_its_targets() -> None:
    listed = run("export", "--list").stdout
    assert all(target in listed for target in ("topology", "vllm", "compose", "k8s"))


def test_export_prints_one_file_and_writes_several(plan: Path, tmp_path: Path) -> None:
    printed = run("export", plan, "--to", "topology")
    assert yaml.safe_load(printed.stdout)["kind"] == "Topology"
    assert run("export", plan, "--to", "topology,vllm").exit_code == 3
    written = run("export", plan, "--to", "topology,vllm", "-O", tmp_path / "out")
    assert written.exit_code == 0
    assert len(written.stdout.splitlines()) == len(list((tmp_path / "out").iterdir())) >= 2


def test_export_refuses_a_target_that_is_not_there(plan: Path) -> None:
    assert run("export", plan, "--to", "helm").exit_code == 2
    assert run("export").exit_code == 2


# ── simulate ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_simulate_says_which_targets_hold(plan: Path) -> None:
    result = run("simulate", plan, "--duration", "60s")
    assert result.exit_code == 0, result.output
    assert "tiny: every target holds (1 target)" in result.output
    assert "Poisson arrivals, 60 s, seed 0" in result.output
    answered = json.loads(run("simulate", plan, "--duration", "60s", "-o", "json").stdout)
    assert answered["holds"] is True
    (chat,) = answered["workloads"]
    assert [target["target"] for target in chat["classes"][0]["targets"]] == ["ttft_p95"]
    assert set(chat["classes"][0]["statistics"]) == {"ttft", "tpot", "e2e"}


def test_simulate_exits_1_when_a_target_is_missed(plan: Path) -> None:
    result = run("simulate", plan, "--duration", "60s", "--rate", "500/s")
    assert result.exit_code == 1
    assert "1 of 1 target missed" in result.output


def test_simulate_refuses_what_does_not_go_together(plan: Path) -> None:
    result = run("simulate", plan, "--arrivals", "trace")
    assert result.exit_code == 3
    assert "--trace FILE" in result.stderr


def test_solve_validates_on_request(folder: Path) -> None:
    result = run("solve", folder / "tiny.yaml", "--validate")
    assert result.exit_code == 0, result.output
    assert "holds its targets in a simulation of" in " ".join(result.output.split())


# ── memory, perf, catalog ────────────────────────────────────────────────────────────────────────────────────────────


def test_memory_draws_the_stack_and_both_cases() -> None:
    result = run("memory", "Qwen/Qwen3-14B", "--gpu", "h100-sxm", "--max-model-len", "8k")
    assert result.exit_code == 0
    assert all(word in result.stdout for word in ("weights", "█", "exact", "fitted", "worst case", "typical case"))


def test_memory_as_json_has_the_estimate_at_the_top() -> None:
    data = json.loads(run("memory", "Qwen/Qwen3-14B", "--gpu", "h100-sxm", "-o", "json").stdout)
    assert {"weights_gib", "kv_cache_gib", "kv_cache_tokens", "fits"} <= set(data)
    # 14.768 billion parameters in 2 bytes are 27.5 GiB.
    assert data["weights_gib"] == pytest.approx(27.5, abs=0.1)


def test_memory_says_what_would_make_it_fit() -> None:
    result = run("memory", "Qwen/Qwen3-32B", "--gpu", "rtx-4090")
    assert result.exit_code == 0
    assert "does not fit" in result.stdout
    assert "What would make it fit" in result.stdout
    assert "--tp" in result.stdout


def test_a_card_without_bf16_gets_fp16_and_is_told_so() -> None:
    assert "fp16, as the card does not compute in bf16" in run("memory", "Qwen/Qwen3-0.6B", "--gpu", "t4").stdout


def test_perf_keeps_the_curve_as_a_drawing(tmp_path: Path) -> None:
    result = run("perf", "Qwen/Qwen3-14B", "--gpu", "h100-sxm", "-O", tmp_path / "curve.svg")
    assert result.exit_code == 0, result.output
    assert "░" in result.output  # the table and the band in the terminal too
    assert (tmp_path / "curve.svg").read_text(encoding="utf-8").startswith("<svg ")


def test_perf_draws_a_curve_and_answers_for_the_asked_concurrency() -> None:
    asked = ("perf", "Qwen/Qwen3-14B", "--gpu", "h100-sxm", "--concurrency", "24")
    assert "> 24" in run(*asked).stdout
    data = json.loads(run(*asked, "-o", "json").stdout)
    (at_24,) = [point for point in data["curve"] if point["concurrency"] == 24]
    for figure in ("ttft_ms", "tpot_ms", "output_tokens_per_s"):
        assert data[figure] == at_24[figure] > 0


def test_a_misspelt_id_gets_a_suggestion() -> None:
    result = run("memory", "Qwen/Qwen3-14", "--gpu", "h100-sxm")
    assert result.exit_code == 3
    assert "Qwen/Qwen3-14B" in result.stderr


@pytest.mark.parametrize("kind", ["models", "gpus", "formats", "engines", "instances"])
def test_the_catalog_lists_its_entries_and_shows_each_whole(kind: str) -> None:
    rows = json.loads(run("catalog", kind, "-o", "json").stdout)[kind]
    assert rows
    shown = yaml.safe_load(run("catalog", kind, "show", rows[0]["id"]).stdout)
    assert rows[0]["id"] in json.dumps(shown)
    assert run("catalog", kind, "show", "no-such-entry").exit_code == 3
    assert rows[0]["id"][:12] in run("catalog", kind).stdout


def test_the_catalog_is_searched_by_words() -> None:
    rows = json.loads(run("catalog", "gpus", "--match", "HOPPER", "--match", "sxm", "-o", "json").stdout)["gpus"]
    assert {"h100-sxm", "h200-sxm"} <= {row["id"] for row in rows}
    assert all("sxm" in row["id"] for row in rows)


def test_a_model_of_ones_own_is_added_from_its_config_and_used(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    # Llama-3.2-1B's shape: https://huggingface.co/meta-llama/Llama-3.2-1B/blob/main/config.json
    config.write_text(
        json.dumps(
            {
                "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048,
                "intermediate_size": 8192, "num_attention_heads": 32, "num_hidden_layers": 16,
                "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256, "tie_word_embeddings": True,
                "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
            }
        ),
        encoding="utf-8",
    )  # fmt: skip
    entry = tmp_path / "mine.yaml"
    added = run("catalog", "add-model", config, "--id", "me/mine", "-O", entry)
    assert added.exit_code == 0, added.stderr
    used = run("memory", "me/mine", "--gpu", "l4", "--catalog", entry, "-o", "json")
    # 1.236 billion parameters in 2 bytes are 2.30 GiB.
    assert json.loads(used.stdout)["weights_gib"] == pytest.approx(2.30, abs=0.05)


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"model_type": "llamma", "architectures": ["X"]}', encoding="utf-8")
    result = run("catalog", "add-model", config, "--id", "me/mine")
    assert result.exit_code == 3
    assert "llama" in result.stderr


# ── Errors and streams ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "arguments",
    [
        ("solve", "x.yaml", "--no-such-option"),
        ("slove", "x.yaml"),
        ("solve", "x.yaml", "--time-limit", "60"),
        ("solve", "x.yaml", "--gap", "-1%"),
        ("memory", "m", "--gpu", "g", "--max-model-len", "1.5"),
    ],
)
def test_wrong_usage_exits_2(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_a_missing_file_exits_3(tmp_path: Path) -> None:
    result = run("solve", tmp_path / "no-such-file.yaml")
    assert result.exit_code == 3
    assert "no-such-file.yaml" in result.stderr


def test_the_unexpected_is_one_line_and_how_to_report_it(folder: Path, monkeypatch: Any) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bolt\nis loose")

    monkeypatch.setattr("catalog.loader.load_catalog", broken)
    result = run("check", folder / "tiny.yaml")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: unexpected RuntimeError")
    assert "GPUPLAN_DEBUG=1" in result.stderr
    monkeypatch.setenv("GPUPLAN_DEBUG", "1")
    assert isinstance(run("check", folder / "tiny.yaml").exception, RuntimeError)


def gpuplan(*arguments: str | Path, **settings: Any) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    words = [sys.executable, "-c", "import cli; cli.main(prog_name='gpuplan')", *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings)


def test_there_are_no_escape_codes_in_a_pipe(folder: Path) -> None:
    environment = {**os.environ, "TERM": "xterm-256color"}
    out, err = gpuplan("solve", folder / "tiny.yaml", env=environment).communicate(timeout=60)
    assert b"\x1b" not in out + err
    assert err == b""


def test_a_reader_that_leaves_early_is_no_error() -> None:
    process = gpuplan("catalog", "instances", "-o", "json")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) in (0, 1)  # 0 where the pipe had taken everything before it closed


def test_nothing_takes_long_to_say_no(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("- not a scenario\n", encoding="utf-8")
    started = time.monotonic()
    assert run("check", file).exit_code == 3
    assert time.monotonic() - started < 5


# ── Own benchmarks ───────────────────────────────────────────────────────────────────────────────────────────────────

RESULT = Path(__file__).parent / "data" / "benchmarks" / "llama_bench.json"


def test_a_calibration_is_written_beside_its_table_and_used_by_perf_and_solve(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    done = run("calibrate", RESULT, "-O", file)
    assert done.exit_code == 0, done.output
    assert "2 runs on llamacpp rtx-4080" in done.output
    written = yaml.safe_load(file.read_text(encoding="utf-8"))
    asked = ("perf", "Qwen/Qwen2.5-7B-Instruct", "--gpu", "rtx-4080", "--engine", "llamacpp", "-o", "json",
             "--weight-dtype", "gguf-q4_k_m", "--concurrency", "1")  # fmt: skip
    shipped, own = (json.loads(run(*asked, *more).stdout) for more in ((), ("--calibration", file)))
    assert (shipped["source"], own["source"]) == ("shipped-2026-11", written["id"])
    assert own["tpot_ms"] < shipped["tpot_ms"]  # 118.9 tokens/s were measured, 8.4 ms
    scenario = SCENARIO.replace("weight_dtypes: [bf16]", "weight_dtypes: [gguf-q4_k_m], engines: [llamacpp]").replace(
        "l4: {gpu: l4,", "home: {gpu: rtx-4080,"
    )
    (tmp_path / "home.yaml").write_text(scenario.replace(", engines", "\n    engines"), encoding="utf-8")
    plan = tmp_path / "home.plan.json"
    solved = run("solve", tmp_path / "home.yaml", "--calibration", file, "-O", plan)
    assert solved.exit_code == 0, solved.output
    groups = json.loads(plan.read_text(encoding="utf-8"))["workloads"][0]["replica_groups"]
    assert {group["source"] for group in groups} == {written["id"]}
    assert run("verify", plan).exit_code == 0


def test_results_that_say_too_little_ask_for_options(tmp_path: Path) -> None:
    asked = run("calibrate", RESULT.with_name("sglang_bench.jsonl"))
    assert asked.exit_code == 3
    assert "give --model, --gpu, --weight-dtype, --tp, or --facts FILE" in asked.stderr
    side = tmp_path / "facts.yaml"
    side.write_text("model: Qwen/Qwen3-8B\ngpu: h100-sxm\nweight_dtype: fp8\ntp: 1\n", encoding="utf-8")
    done = run("calibrate", RESULT.with_name("sglang_bench.jsonl"), "--facts", side, "-o", "json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["kind"] == "calibration"
