"""A precision that is slow on this machine is told to the user, wherever a model is loaded."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

import atlas
from atlas.models.local import precision
from atlas.models.local.precision import SLOW, dtype_name, note_of_slow_precision

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is not timed")


@on_cpu
@pytest.mark.parametrize(("factor", "is_told"), [(1.0, False), (SLOW, True), (67.2, True)])
def test_a_load_in_emulated_bf16_says_what_it_costs(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    factor: float,
    is_told: bool,
) -> None:
    monkeypatch.setattr(precision, "_slower_in_bf16", lambda: factor)
    assert dtype_name("bf16") == "bfloat16"
    written = " ".join(capsys.readouterr().err.split())
    assert (f"takes {factor:.0f} times as long as in fp32" in written) == is_told


@pytest.mark.parametrize("given", ["auto", "fp32"])
def test_only_bf16_is_timed(monkeypatch: pytest.MonkeyPatch, given: precision.Precision) -> None:
    monkeypatch.setattr(precision, "_slower_in_bf16", lambda: 1 / 0)
    assert note_of_slow_precision(given) is None


@on_cpu
def test_the_factor_is_measured() -> None:
    factor = precision._slower_in_bf16.__wrapped__()
    # A CPU with the instructions is at 0.3 to 1, one that emulates them at 10 to 100.
    assert 0.05 < factor < 2000


def test_no_other_module_names_a_torch_type_from_the_setting() -> None:
    """What loads a model in a precision that a user sets goes by `dtype_name`, which tells."""
    package = Path(atlas.__file__).parent
    users = [
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if any(
            isinstance(node, ast.Name | ast.alias)
            and "resolve_precision" in (getattr(node, "id", ""), getattr(node, "name", ""))
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        )
    ]
    assert sorted(users) == ["models/local/precision.py", "training/chosen_precision.py"]
