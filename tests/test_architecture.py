"""The import direction, and who may import, print or run what, read from the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the top down; a module belongs to the longest prefix that fits. Modules of one part may import each other; a part
# imports only parts on lower lines, never up or sideways. The bare packages are their __init__.py, which hand names on.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("cli",),
    ("optimizer.commands",),
    ("optimizer",),
    ("optimizer.report", "optimizer.exporters"),
    ("optimizer.validation", "optimizer.batch", "optimizer.fronts"),
    ("optimizer.api",),
    ("optimizer.alternatives",),
    (
        "optimizer.explain",
        "optimizer.assemble",
        "optimizer.assumptions",
        "optimizer.preferred",
        "optimizer.simulation",
        "optimizer.warm_start",
    ),
    ("optimizer.placed",),
    ("optimizer.solve",),
    ("optimizer.formulation",),
    ("optimizer.candidates", "optimizer.verification", "optimizer.calibration"),
    ("optimizer.performance", "optimizer.topology", "optimizer.fitting", "optimizer.startup_log"),
    ("optimizer.memory",),
    ("optimizer.checkpoints", "optimizer.plans", "optimizer.placement", "optimizer.uses"),
    ("optimizer.serving_config", "optimizer.layout"),
    ("optimizer.scenario",),
    ("optimizer.disk_cache",),
    ("optimizer.files", "optimizer.yaml_text", "optimizer.workers", "optimizer.kept", "optimizer.plan_notes"),
    ("catalog", "catalog.index", "catalog.overlay"),
    ("catalog.loader",),
    ("catalog.huggingface", "catalog.entries", "catalog.model_text"),
    ("catalog.documents",),
    ("optimizer.errors", "catalog.architecture"),
    ("catalog.schema",),
    ("catalog.units", "catalog.errors"),
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
HAND_ON = ("optimizer", "catalog")
ONLY_IN = {
    "ortools": ("optimizer.formulation", "optimizer.solve"),
    "pyarrow": ("optimizer.batch",),
    "ray": ("optimizer.workers",),
    "click": ("cli", "optimizer.commands"),
    "rich": ("optimizer.commands", "optimizer.report"),
}
READING = {"open", "read_text", "read_bytes", "load", "safe_load", "iterdir", "glob"}
SPEAKING = {"print", "sys.stdout.write", "sys.stderr.write"}
MAX_LINES = 400


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


SOURCES = {
    module_name(path): path
    for path in (ROOT / "cli.py", *sorted(ROOT.glob("catalog/**/*.py")), *sorted(ROOT.glob("optimizer/**/*.py")))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8"), str(path)) for name, path in SOURCES.items()}


def part_of(module: str) -> str:
    """The longest part that is the module or a package around it; the bare packages hold nothing but themselves."""
    parts = [part for part in RANK if module == part or (module.startswith(part + ".") and part not in HAND_ON)]
    if not parts:
        raise AssertionError(f"{module} has no place yet: say in LAYERS where it belongs")
    return max(parts, key=len)


def imports(module: str) -> Iterator[tuple[str, int]]:
    """Every imported module with its line, those inside functions too; `from package import module` is that module."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{SOURCES[module]}:{node.lineno}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in SOURCES else node.module), node.lineno


def test_modules_import_only_what_lies_below_them() -> None:
    faults = []
    for module in SOURCES:
        own = part_of(module)
        for imported, line in imports(module):
            if imported.split(".")[0] not in ("cli", *HAND_ON):
                continue
            other = part_of(imported)
            if other != own and RANK[other] <= RANK[own]:
                faults.append(f"{SOURCES[module]}:{line}: {own} may not import {other}")
    assert not faults, "\n".join(faults)


def test_a_library_with_one_place_stays_there() -> None:
    faults = [
        f"{SOURCES[module]}:{line}: {imported} belongs in {home}"
        for module in SOURCES
        for imported, line in imports(module)
        if (home := ONLY_IN.get(imported.split(".")[0])) and part_of(module) not in home
    ]
    assert not faults, "\n".join(faults)


def test_importing_a_module_only_defines_names() -> None:
    faults = [
        f"{SOURCES[module]}:{node.lineno}: work done at import"
        for module, tree in TREES.items()
        for node in tree.body
        if not defines(node)
    ]
    assert not faults, "\n".join(faults)


def defines(node: ast.stmt) -> bool:
    """Whether a statement at the top of a module does no more than say what names mean; it reads no file."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        calls = [call for call in ast.walk(node.value) if isinstance(call, ast.Call)]
        return {ast.unparse(call.func).split(".")[-1] for call in calls}.isdisjoint(READING)
    return isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef | ast.AnnAssign)


def test_only_the_command_line_prints() -> None:
    faults = [
        f"{SOURCES[module]}:{node.lineno}: {ast.unparse(node.func)}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if part_of(module) != "optimizer.commands" and isinstance(node, ast.Call) and ast.unparse(node.func) in SPEAKING
    ]
    assert not faults, "\n".join(faults)


def test_modules_say_in_their_first_line_why_they_exist() -> None:
    faults = [str(SOURCES[module]) for module, tree in TREES.items() if tree.body and not ast.get_docstring(tree)]
    assert not faults, "\n".join(faults)


def test_modules_can_be_read_in_one_sitting() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES.values()}
    faults = [f"{path}: {lines} lines; split it" for path, lines in lengths.items() if lines > MAX_LINES]
    assert not faults, "\n".join(faults)


def test_public_names_are_sorted() -> None:
    faults = []
    for module, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names = list(ast.literal_eval(node.value))
                # As ruff sorts them: constants, then classes, then the rest.
                if names != sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name)):
                    faults.append(f"{SOURCES[module]}:{node.lineno}")
    assert not faults, "\n".join(faults)


def loaded_by(code: str) -> set[str]:
    """Top-level modules in memory after a fresh interpreter has run `code`."""
    report = f"{code}\nimport sys; sys.stdout.write(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", report], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("code", ["import optimizer", "import catalog"])
def test_importing_a_package_waits_with_what_is_heavy(code: str) -> None:
    assert loaded_by(code).isdisjoint({"ortools", "networkx", "rich", "yaml", "pandas"})


def test_importing_the_command_line_waits_with_everything() -> None:
    assert loaded_by("import cli").isdisjoint({"ortools", "networkx", "rich", "yaml", "numpy", "pydantic"})


def test_the_layers_name_each_part_once() -> None:
    parts = [part for line in LAYERS for part in line]
    assert len(parts) == len(set(parts))
