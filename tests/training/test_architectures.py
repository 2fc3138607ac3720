"""Which architectures are trained, refused, or described, before anything expensive."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from rich.console import Console
from safetensors.torch import load_file, save_file

from atlas.errors import ConfigError, ModelError
from atlas.models.local.load import ModelPlace, load_model
from atlas.training.adapters import attach_adapters, describe_reach
from atlas.training.check_model import check_tokens, read_model_settings
from atlas.training.config import LoraConfig, TrainConfig
from atlas.training.dry_run import print_training_plan
from atlas.training.examples import ExampleSet
from atlas.training.model_shape import measure_shape
from atlas.training.train_agent import train_agent
from tests.training.renamed_families import RENAMED, tiny_renamed
from tests.training.small_runs import losses, make_runs, quick
from tests.training.tiny_families import FAMILIES, SHAPE, example, tiny

SMALL = {"vocab_size": 120, "hidden_size": 32, "num_hidden_layers": 2}
UNUSUAL = {
    "mamba": lambda: transformers.MambaConfig(**SMALL, state_size=4),
    "mamba2": lambda: transformers.Mamba2Config(
        **SMALL, num_heads=4, head_dim=16, state_size=8, n_groups=1
    ),
    "rwkv": lambda: transformers.RwkvConfig(**SMALL),
    "xlstm": lambda: transformers.xLSTMConfig(**SMALL, num_heads=4),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=120, n_embd=32, n_layer=2, n_head=4, n_positions=64
    ),
    "llama4 text": lambda: transformers.Llama4TextConfig(
        **SHAPE, num_local_experts=4, intermediate_size_mlp=48, head_dim=8
    ),
    "gpt_oss": lambda: transformers.GptOssConfig(
        **SHAPE, num_local_experts=4, num_experts_per_tok=2, head_dim=8
    ),
    "gemma4": lambda: transformers.Gemma4Config(),
}
VISION = {
    "Qwen2.5-VL": transformers.Qwen2_5_VLConfig,
    "Qwen3-VL": transformers.Qwen3VLConfig,
    "Mistral-3": transformers.Mistral3Config,
    "Llava": transformers.LlavaConfig,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", [*FAMILIES, *RENAMED, *UNUSUAL])
def test_every_architecture_has_a_shape(family: str, tmp_path: Path) -> None:
    config = ({**FAMILIES, **RENAMED, **UNUSUAL})[family]()
    config.save_pretrained(tmp_path)
    shape = measure_shape(str(tmp_path), TrainConfig(model="m"))
    assert shape.num_layers > 0
    assert 0 < shape.layer_weights * shape.num_layers < 4 * shape.num_parameters


def write_unusual(config: Any, tokenizer: Any, folder: Path) -> Path:
    config.vocab_size, config.eos_token_id = len(tokenizer), tokenizer.eos_token_id
    config.bos_token_id = config.pad_token_id = None
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["mamba", "rwkv", "xlstm"])
def test_a_model_without_attention_has_a_plan(
    family: str, runs: tuple[Path, Path], tokenizer: Any, tmp_path: Path
) -> None:
    model = write_unusual(UNUSUAL[family](), tokenizer, tmp_path / "model")
    console = Console(record=True, width=120, file=io.StringIO())
    print_training_plan(console, TrainConfig(model=str(model)), *runs)
    text = console.export_text()
    assert "2 layers of width 32" in text
    assert "memory:      about" in text


@pytest.mark.parametrize("name", VISION)
def test_a_vision_model_that_is_no_causal_model_is_refused_before_tokenizing(
    name: str,
    runs: tuple[Path, Path],
    tokenizer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    VISION[name]().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    monkeypatch.setattr(
        "atlas.training.train_agent.build_examples", lambda *_: pytest.fail("it was tokenized")
    )
    with pytest.raises(ModelError, match="does not load as a causal language model"):
        train_agent(quick(tmp_path / "model"), *runs, tmp_path / "run")
    with pytest.raises(ModelError, match="does not load as a causal language model"):
        print_training_plan(Console(), TrainConfig(model=str(tmp_path / "model")), *runs)


def test_a_vision_model_of_which_only_the_text_would_be_kept_is_refused(tmp_path: Path) -> None:
    transformers.Llama4Config(architectures=["Llama4ForConditionalGeneration"]).save_pretrained(
        tmp_path
    )
    with pytest.raises(ModelError, match=r"only the text model .Llama4ForCausalLM. would be"):
        read_model_settings(ModelPlace("m", str(tmp_path)))


@pytest.mark.parametrize("name", ["Emu3", "Mllama"])
def test_a_text_model_that_could_not_be_loaded_again_is_refused_before_training(
    name: str, tmp_path: Path
) -> None:
    config = getattr(transformers, f"{name}Config")()
    config.architectures = [f"{name}ForCausalLM"]
    config.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=rf"text model .{name}ForCausalLM. transformers saves in"):
        read_model_settings(ModelPlace("m", str(tmp_path)))


@pytest.mark.parametrize("family", ["jamba", "nemotron_h"])
def test_a_length_that_binds_nothing_is_no_limit(family: str) -> None:
    config = RENAMED[family]()
    check_tokens(config, ExampleSet((example(0, SHAPE["max_position_embeddings"] + 9),)), "m")


@pytest.mark.parametrize(
    "config",
    [
        UNUSUAL["gpt2"](),
        transformers.OPTConfig(
            **SMALL, ffn_dim=32, num_attention_heads=4, max_position_embeddings=64
        ),
        transformers.GPTJConfig(
            vocab_size=120, n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=8
        ),
        transformers.CTRLConfig(
            vocab_size=120, n_embd=32, n_layer=2, n_head=4, n_positions=64, dff=32
        ),
        transformers.MptConfig(vocab_size=120, d_model=32, n_layers=2, n_heads=4, max_seq_len=64),
    ],
)
def test_a_table_of_positions_is_a_limit(config: Any) -> None:
    with pytest.raises(ModelError, match="has embeddings for 64 positions"):
        check_tokens(config, ExampleSet((example(0, 70),)), "m")


@pytest.fixture
def block_fp8(tokenizer: Any, tmp_path: Path) -> Path:
    """A Llama whose matrices are stored in 8 bits with a scale per block, as DeepSeek-V3's are."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=256,
        num_hidden_layers=1,
        num_attention_heads=4,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    folder = tmp_path / "fp8"
    transformers.LlamaForCausalLM(config).bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    stored = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        if "proj" not in name:
            stored[name] = weight
            continue
        rows, columns = weight.shape
        blocks = weight.float().reshape(rows // 128, 128, columns // 128, 128)
        scales = blocks.abs().amax((1, 3)) / torch.finfo(torch.float8_e4m3fn).max
        in_blocks = (blocks / scales[:, None, :, None]).to(torch.float8_e4m3fn)
        stored[name] = in_blocks.reshape(rows, columns)
        stored[f"{name}_scale_inv"] = scales
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    add_quantization(folder, quant_method="fp8", weight_block_size=[128, 128])
    return folder


def add_quantization(folder: Path, **settings: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))


@pytest.mark.parametrize("changes", [{}, {"lora": {"rank": 2}}])
def test_weights_in_blocks_of_8_bits_are_trained_as_plain_ones(
    changes: dict[str, object], block_fp8: Path, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    if changes:
        pytest.importorskip("peft", reason="the lora extra is not installed")
    train_agent(quick(block_fp8, epochs=4, **changes), *runs, tmp_path / "run")
    values = losses(tmp_path / "run")
    assert values[-1] < values[0]
    place = ModelPlace("m", str(tmp_path / "run" / "checkpoint"))
    model = load_model(place, "float32", "cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    if not changes:
        config = json.loads((tmp_path / "run" / "checkpoint" / "config.json").read_text())
        assert "quantization_config" not in config


def test_other_stored_bits_are_refused_before_anything_is_loaded(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    tiny("llama").config.save_pretrained(tmp_path)
    add_quantization(tmp_path, quant_method="gptq", bits=4)
    with pytest.raises(ModelError, match=r"stored in few bits \(gptq\) and cannot be trained"):
        read_model_settings(ModelPlace("m", str(tmp_path)))


@pytest.mark.filterwarnings("ignore")
def test_adapters_say_which_matrices_they_do_not_reach() -> None:
    pytest.importorskip("peft", reason="the lora extra is not installed")
    config = UNUSUAL["gpt_oss"]()

    def adapted(**changes: Any) -> Any:
        model = transformers.AutoModelForCausalLM.from_config(config)
        return attach_adapters(model, LoraConfig.model_validate({"rank": 2, **changes}))

    said = describe_reach(adapted())
    assert said is not None
    assert "the adapters reach 14% of the weights in the layers' matrices" in said
    assert "None on: mlp.experts.gate_up_proj, mlp.experts.down_proj, mlp.router." in said
    names = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    assert f"set lora.target_parameters=[{','.join(names)}]" in said
    said = describe_reach(adapted(target_parameters=names))
    assert said is not None
    assert "mlp.experts" not in said
    assert describe_reach(attach_adapters(tiny("llama"), LoraConfig(rank=2))) is None
    only_queries = describe_reach(adapted(target_modules=["q_proj"]))
    assert only_queries is not None
    assert "self_attn.o_proj" in only_queries
    with pytest.raises(ConfigError, match=r"names mlp\.nothing, which the model does not have"):
        adapted(target_parameters=["mlp.nothing"])


@pytest.mark.filterwarnings("ignore")
def test_the_plan_and_the_training_have_the_same_adapters(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="the lora extra is not installed")
    model = tiny_renamed("qwen3_moe")
    model.config.save_pretrained(tmp_path)
    lora = LoraConfig(rank=3)
    shape = measure_shape(str(tmp_path), TrainConfig(model="m", lora=lora))
    adapted = attach_adapters(model, lora)
    trained = sum(one.numel() for one in adapted.parameters() if one.requires_grad)
    assert shape.adapter_weights == trained
    assert shape.reach == describe_reach(adapted)
