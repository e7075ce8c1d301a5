"""Several targets at once; all of them get a folder each, and a README that says how to apply them."""

from __future__ import annotations

from collections.abc import Sequence

from optimizer.errors import InputError
from optimizer.exporters.base import Export, Exporter, nothing_to_export, one_line
from optimizer.exporters.engines import DIALECTS
from optimizer.exporters.targets import EXPORTERS
from optimizer.topology import Topology

README = "README.md"


def render_together(targets: Sequence[str], topology: Topology) -> Export:
    """The files of some targets side by side; a target that has no words for any of the plan raises InputError."""
    exports = [EXPORTERS[name].render(topology) for name in targets]
    return Export(
        {file: text for export in exports for file, text in export.files.items()},
        tuple(dict.fromkeys(line for export in exports for line in export.left_out)),
        tuple(dict.fromkeys(line for export in exports for line in export.warnings)),
    )


def render_everything(topology: Topology) -> Export:
    """`TARGET/FILE` for every target that has words for some of the plan, and `README.md`."""
    files: dict[str, str] = {}
    warnings: dict[str, None] = {}
    written: dict[str, Export] = {}
    skipped: dict[str, list[str]] = {}
    engines = {one.group.engine for one in topology.groups}
    for name, exporter in EXPORTERS.items():
        if name in DIALECTS and name not in engines and None not in engines:
            continue  # nothing runs on that engine, and nobody expects it to
        try:
            export = exporter.render(topology)
        except InputError as error:
            for fault in error.faults:
                skipped.setdefault(fault.message.removeprefix(nothing_to_export(name)), []).append(name)
            continue
        written[name] = export
        files |= {f"{name}/{file}": text for file, text in export.files.items()}
        warnings |= dict.fromkeys(export.warnings)
    files[README] = _readme(topology, written, skipped, tuple(warnings))
    left_out = tuple(f"{name}: {line}" for name, export in written.items() for line in export.left_out)
    left_out += tuple(f"{', '.join(names)}: {reason}" for reason, names in skipped.items())
    return Export(files, left_out, tuple(warnings))


def _readme(
    topology: Topology, written: dict[str, Export], skipped: dict[str, list[str]], warnings: tuple[str, ...]
) -> str:
    document = topology.document
    lines = [
        f"# {_plain(document.scenario)}",
        "",
        f"Written by gpuplan from the plan {document.plan_sha256}. Every folder says the same plan in the words of "
        "another system; apply one of them.",
        "",
    ]
    if warnings:
        lines += ["Before anything starts:", "", *(f"- {_plain(warning)}" for warning in warnings), ""]
    lines += ["| folder | what | apply |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {EXPORTERS[name].summary} | {_apply(name, EXPORTERS[name])} |" for name in written]
    lines += [
        "",
        "Kubernetes targets read a Hugging Face token, where one is needed, from the secret `hf-token`:",
        "`kubectl create secret generic hf-token --from-literal=token=…`; scripts and Compose read `HF_TOKEN`.",
        "Pods go to nodes that GPU feature discovery has labelled `nvidia.com/gpu.product`, and where a file's first "
        "lines say so to nodes that you label.",
    ]
    left_out = [(name, line) for name, export in written.items() for line in export.left_out]
    if left_out or skipped:
        lines += ["", "Left out, because the target has no words for it:", ""]
        lines += [f"- `{name}`: {_plain(line)}" for name, line in left_out]
        lines += [f"- {', '.join(f'`{name}`' for name in names)}: {_plain(why)}" for why, names in skipped.items()]
    return "\n".join(lines) + "\n"


def _apply(name: str, exporter: Exporter) -> str:
    return exporter.apply.format(folder=name, target=name)


def _plain(text: str) -> str:
    """Names of the user's in Markdown: nothing in them is a link, HTML or a table's border."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>()#+!|&" else c for c in one_line(text))
