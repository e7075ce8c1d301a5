"""Tables of measured kernels are made once and kept on disk, for that version of the package alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import silicon_package

from optimizer.performance import kernel_tables
from optimizer.performance.kernel_tables import KernelTable, NotTabulated, Question, Shape, kernel_table

SHAPE = Shape(4096, 36, 32, 8, 128, 12288, 151936, 40960, False)
KNOWN = Question("Qwen/Qwen3-8B", SHAPE, "h100_sxm", "vllm", "fp8", "fp8", None, (1, 1, 1, 1))
UNKNOWN = KNOWN._replace(shape=SHAPE._replace(num_hidden_layers=40))


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "gpuplan" / "silicon").iterdir())


def test_a_later_run_reads_what_an_earlier_one_made(silicon_tables: list[Any]) -> None:
    first = kernel_table(KNOWN)
    silicon_package.forget()
    again = kernel_table(KNOWN)
    assert isinstance(first, KernelTable)
    assert isinstance(again, KernelTable)
    assert np.array_equal(first.decode_ms, again.decode_ms)
    assert np.array_equal(first.prefill_ms, again.prefill_ms)
    assert len(silicon_tables) == 1


def test_that_there_are_no_figures_is_kept_too(silicon_tables: list[Any]) -> None:
    first = kernel_table(UNKNOWN)
    asked = len(silicon_tables)
    assert isinstance(first, NotTabulated)
    assert kernel_table(UNKNOWN) == first
    assert len(silicon_tables) == asked


def test_damaged_files_are_made_again(silicon_tables: list[Any], tmp_path: Path) -> None:
    kernel_table(KNOWN)
    (file,) = files(tmp_path)
    whole = file.read_text()
    for damaged in ("", whole[:-9], whole.replace("1", "2"), "\udcff"):
        file.write_bytes(damaged.encode("utf-8", "surrogateescape"))
        assert isinstance(kernel_table(KNOWN), KernelTable)
        assert file.read_text() == whole
    assert len(silicon_tables) == 5


def test_another_version_of_the_package_has_tables_of_its_own(
    silicon_tables: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel_table(KNOWN)
    with monkeypatch.context() as later:
        later.setattr(kernel_tables, "silicon_version", lambda: "0.13.0")
        kernel_table(KNOWN)
    assert len(silicon_tables) == 2
    assert len(files(tmp_path)) == 2


def test_a_dense_model_is_described_by_its_sizes() -> None:
    described = json.loads(SHAPE.configuration)
    assert (described["num_hidden_layers"], described["num_key_value_heads"], described["head_dim"]) == (36, 8, 128)
    with kernel_tables._model_path(KNOWN) as path:
        assert (Path(path) / "config.json").read_text() == SHAPE.configuration
    assert not Path(path).exists()
    with kernel_tables._model_path(KNOWN._replace(shape=None)) as path:
        assert path == "Qwen/Qwen3-8B"
