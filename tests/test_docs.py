"""What the README shows is what happens. `pytest tests/test_docs.py --regenerate` puts the real output in."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from catalog import Catalog
from optimizer import load_scenario, optimize
from optimizer.report.figures import standalone
from optimizer.report.story import purchase_page
from optimizer.report.story.parts import Figure
from optimizer.report.words import usd

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
EXPLAINING = ROOT / "docs" / "explaining.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)\)")
FILE_NAME = re.compile(r"# ([\w-]+\.yaml)\n")
SECONDS = re.compile(r"[\d.]+ s\)")


def blocks(language: str, document: Path = README) -> list[str]:
    return [body for found, body in BLOCK.findall(document.read_text(encoding="utf-8")) if found == language]


def made_by(target: str) -> str:
    """The gpuplan command of a Makefile target."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(rf"^{target}:.*\n\t@\$\(BIN\)/(gpuplan .*)$", makefile, re.MULTILINE)
    assert found, target
    return found[1]


def output_of(command: str) -> str:
    """What a gpuplan command prints; it has to succeed, or to say why there is no plan."""
    words = shlex.split(made_by("solve") if command == "make solve" else command, comments=True)
    result = CliRunner().invoke(cli.main, words[1:], prog_name="gpuplan")
    assert result.exit_code in (0, 4), f"{command}\n{result.output}"
    return result.stdout


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder as a newcomer has it, with the files that the documents show."""
    folder = tmp_path_factory.mktemp("newcomer")
    shutil.copytree(ROOT / "scenarios", folder / "scenarios")
    for body in (*blocks("yaml"), *blocks("yaml", EXPLAINING)):
        if named := FILE_NAME.match(body):
            (folder / named[1]).write_text(body, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "100")
        yield folder


def played(body: str) -> str:
    """A transcript with the output that its commands have now."""
    commands = [line for line in body.splitlines() if line.startswith("$ ")]
    shown = [f"{command}\n{output_of(command.removeprefix('$ '))}".rstrip() for command in commands]
    return "\n".join(shown) + "\n"


@pytest.mark.usefixtures("newcomer")
@pytest.mark.parametrize("document", [README, EXPLAINING], ids=lambda path: path.stem)
def test_transcripts_of_the_documents_are_what_is_printed(document: Path, request: pytest.FixtureRequest) -> None:
    transcripts = {body: played(body) for body in blocks("console", document)}
    if request.config.getoption("--regenerate"):
        text = document.read_text(encoding="utf-8")
        for body, now in transcripts.items():
            text = text.replace(body, now)
        document.write_text(text, encoding="utf-8")
        return
    for body, now in transcripts.items():
        assert SECONDS.sub("s)", now) == SECONDS.sub("s)", body), "see --regenerate"


@pytest.mark.usefixtures("newcomer")
def test_commands_of_the_readme_run() -> None:
    """Those without a transcript; `make` is what runs the tests."""
    if not Path("quickstart.yaml").exists():
        output_of("gpuplan init")
    commands = [line for body in blocks("sh") for line in body.splitlines() if line.startswith("gpuplan ")]
    assert len(commands) >= 5
    for command in commands:
        output_of(command)


@pytest.mark.usefixtures("newcomer")
def test_the_python_of_the_readme_runs() -> None:
    (body,) = blocks("python")
    exec(compile(body, "README.md", "exec"), {})


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("solve", "test"):
        assert f"make {target}" in README.read_text(encoding="utf-8")
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


PICTURES = {"report-cost.svg": "money", "report-servers.svg": "topology"}
"""File in docs/pictures -> section of the report of scenarios/purchase.yaml whose first picture it is."""


def test_pictures_of_the_readme_are_those_of_the_report(catalog: Catalog, request: pytest.FixtureRequest) -> None:
    scenario = load_scenario(ROOT / "scenarios" / "purchase.yaml", catalog)
    page = purchase_page(optimize(scenario, catalog), scenario, catalog, None)
    for name, section in PICTURES.items():
        (blocks_of_section,) = (one.blocks for one in page.sections if one.id == section)
        svg = standalone(next(block.svg for block in blocks_of_section if isinstance(block, Figure)))
        path = ROOT / "docs" / "pictures" / name
        if request.config.getoption("--regenerate"):
            path.write_text(svg, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == svg, "see --regenerate"
        assert f"](docs/pictures/{name})" in README.read_text(encoding="utf-8")


WORKED_THROUGH = ("purchase", "multi-region", "uncertain-demand", "mixed-cards")


@pytest.mark.parametrize("name", WORKED_THROUGH)
def test_decisions_are_worked_through_with_what_plans_cost_today(name: str, catalog: Catalog) -> None:
    layout = optimize(load_scenario(ROOT / "scenarios" / f"{name}.yaml", catalog), catalog)
    assert layout.cost is not None
    text = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    cost = usd(layout.cost.usd_over_horizon if layout.periods and not layout.futures else layout.cost.usd_per_hour)
    assert cost in text


DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/calibration.md",
    "docs/decisions.md",
    "docs/exports.md",
    "docs/formulation.md",
    "docs/glossary.md",
    "docs/memory.md",
    "docs/report.md",
    "docs/scaling.md",
    "docs/scenario.md",
    "docs/simulation.md",
    "docs/solving.md",
    "docs/explaining.md",
)


def test_the_readme_leads_to_every_page() -> None:
    links = LINK.findall(README.read_text(encoding="utf-8"))
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= set(links)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_between_documents_lead_somewhere(name: str) -> None:
    document = ROOT / name
    links = LINK.findall(document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_list_of_what_logs_show_names_tests_that_exist() -> None:
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs" / "memory.md").read_text(encoding="utf-8"))
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "optimizer").rglob("test_*.py"))
    assert len(named) >= 15
    assert [name for name in named if f"def {name}(" not in sources] == []
