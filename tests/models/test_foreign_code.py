"""A model folder never runs code, whatever its files ask for, and nothing is asked on stdin."""

from __future__ import annotations

import ast
import contextlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ModelError
from atlas.models.local.load import load_model, load_tokenizer, locate_model, read_config
from atlas.training.adapters import attach_adapters
from atlas.training.config import LoraConfig

SOURCE = Path(__file__).resolve().parents[2] / "src"
LOADERS = ("from_pretrained", "from_config")
CODE = "raise SystemExit(open({marker!r}, 'w').write('ran'))\n"


def calls(tree: ast.AST) -> list[ast.Attribute | ast.Call]:
    """Calls of loaders, and uses of a loader that are no call."""
    called = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LOADERS
    ]
    functions = {id(call.func) for call in called}
    others = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in LOADERS and id(node) not in functions
    ]
    return [*called, *others]


def refuses_code(call: ast.Attribute | ast.Call, text: str) -> bool:
    if isinstance(call, ast.Attribute):
        return False
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    value = keywords.get("trust_remote_code")
    if isinstance(value, ast.Constant):
        return value.value is False
    # Options that are built beside the call.
    return None in keywords and '"trust_remote_code": False' in text


def test_every_loader_refuses_the_code_of_a_model() -> None:
    found = 0
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for call in calls(ast.parse(text)):
            found += 1
            assert refuses_code(call, text), f"{path}:{call.lineno} may run code of a model"
    assert found >= 5


@pytest.fixture
def hostile(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A model folder whose every file asks for its own code."""
    folder = tmp_path / "hostile"
    shutil.copytree(tiny_model_folder, folder)
    code = CODE.format(marker=str(tmp_path / "ran"))
    (folder / "evil.py").write_text(code)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(code)
    for name, entries in {
        "config.json": {
            "AutoConfig": "evil.Config",
            "AutoModel": "evil.Model",
            "AutoModelForCausalLM": "evil.Model",
        },
        "tokenizer_config.json": {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]},
        "generation_config.json": {},
    }.items():
        change(folder / name, auto_map=entries)
    return folder


def change(file: Path, **entries: Any) -> None:
    earlier = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(earlier | entries))


def load_all(folder: Path) -> None:
    """Everything that reads a model folder; a refusal is as good as a result."""
    place = locate_model(str(folder))
    for load in (
        lambda: load_tokenizer(place),
        lambda: read_config(place.location),
        lambda: load_model(place, "float32", "cpu"),
        lambda: embed(folder),
    ):
        with contextlib.suppress(ModelError):
            load()


def embed(folder: Path) -> None:
    from atlas.models.local.embeddings import load_embedder

    load_embedder(str(folder))


@pytest.mark.parametrize("architecture", ["llama", "own"])
@pytest.mark.filterwarnings("ignore")
def test_a_model_folder_never_runs_code(
    hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    if architecture == "own":
        change(hostile / "config.json", model_type="evil", architectures=["EvilForCausalLM"])
        change(hostile / "tokenizer_config.json", tokenizer_class="EvilTokenizer")
    monkeypatch.setattr("builtins.input", _never("asked on stdin"))
    load_all(hostile)
    assert not (tmp_path / "ran").exists()
    assert "evil" not in sys.modules
    if architecture == "own":
        with pytest.raises(ModelError, match="atlas runs no code that a model brings"):
            read_config(str(hostile))


@pytest.mark.filterwarnings("ignore")
def test_adapters_do_not_run_the_code_of_their_base(
    hostile: Path, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft", reason="the lora extra is not installed")
    adapters = tmp_path / "adapters"
    model = load_model(locate_model(str(tiny_model_folder)), "float32", "cpu")
    attach_adapters(model, LoraConfig(rank=2)).save_pretrained(adapters)
    change(hostile / "config.json", model_type="evil")
    change(
        adapters / "adapter_config.json",
        base_model_name_or_path=str(hostile),
        auto_map={"AutoModelForCausalLM": "evil.Model"},
        auto_mapping={"base_model_class": "Model", "parent_library": "evil"},
    )
    shutil.copy(hostile / "tokenizer_config.json", adapters)
    monkeypatch.setattr("builtins.input", _never("asked on stdin"))
    monkeypatch.syspath_prepend(str(hostile))
    load_all(adapters)
    assert not (tmp_path / "ran").exists()


def test_kernels_of_a_repository_are_refused(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    change(folder / "config.json", attn_implementation="somebody/kernel")
    with pytest.raises(ModelError, match="asks for code of somebody/kernel"):
        read_config(str(folder))
    with pytest.raises(ModelError, match="asks for code of somebody/kernel"):
        load_model(locate_model(str(folder)), "float32", "cpu")


def _never(message: str) -> Callable[..., str]:
    def fail(*_: Any) -> str:
        pytest.fail(message)

    return fail
