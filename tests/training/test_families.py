"""What the exact engine gives to every causal language model of transformers, and that it is right.

The sweep of `benchmarks/families.py` builds each family from a small config and compares a step of
training with plain training in float64. The table below states what each row gets. A row that gets
something else, or whose loss or gradient differs, fails. The page of the docs says the same.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALL, SHARED = (
    "chunked_loss packing shared_prompts last_layer",
    "chunked_loss packing shared_prompts",
)
PACKED, ALONE = "chunked_loss packing", "chunked_loss, one by one"
REFUSED = "refused"
# What a row gets -> the families.
FAMILIES = {
    ALL: """
        afmoe apertus arcee aria_text axk1 bailing_hybrid bamba biogpt bitnet cohere cohere2
        cohere2_moe cohere_compass_text cwm deepseek_v2 deepseek_v3 diffllama dots1 emu3 ernie4_5
        ernie4_5_moe exaone4 exaone_moe flex_olmo flint fuyu gemma gemma2 gemma3 gemma3_text
        gemma4_unified gemma4_unified_text glm glm4 glm4_moe glm4_moe_lite gpt_oss granite
        granite_swa granitemoe granitemoe_swa granitemoehybrid granitemoeshared helium
        hunyuan_v1_dense hunyuan_v1_moe hy_v3 hyperclovax internlm3 iquestcoder jais2 jamba jetmoe
        kimi_linear kolibri1 laguna lfm2 lfm2_moe llama mellum minicpm3 minimax_m2
        minimax_m3_vl_text ministral ministral3 mistral mixtral modernbert-decoder moshi nanochat
        nemotron olmo olmo2 olmo3 olmo_hybrid olmoe opt persimmon phi phi3 qwen2 qwen2_moe qwen3
        qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_text qwen3_moe qwen3_next seed_oss smollm3
        solar_open stablelm starcoder2 vaultgemma whisper youtu
    """,
    SHARED: """
        beam bloom ctrl dbrx falcon falcon_h1 falcon_mamba gemma3n_text gemma4 gemma4_text gpt-sw3
        gpt2 gpt_bigcode gpt_neox hrm_text lfm3 longcat_flash mamba mamba2 minimax mllama mpt
        nemotron_h recurrent_gemma rwkv xglm xlstm zamba zamba2
    """,
    PACKED: """
        axk2 codegen deepseek_v32 deepseek_v4 doge dots3_note_text glm_moe_dsa gpt_neo
        gpt_neox_japanese gptj hy_v4 inkling2_text llama4 llama4_text mimo_v2_flash phimoe
        qwen4_exp qwen4_exp_text zaya
    """,
    ALONE: """
        bart bigbird_pegasus blenderbot blenderbot-small inkling_text marian mbart mvp openai-gpt
        pegasus plbart trocr
    """,
    REFUSED: """
        bert bert-generation big_bird camembert data2vec-text electra ernie megatron-bert prophetnet
        rembert roberta roberta-prelayernorm roc_bert roformer xlm xlm-roberta xlm-roberta-xl xlnet
        xmod
    """,
}
# The same for variants, by name.
VARIANTS = {
    "bart, LayerDrop": ALONE,
    "bert, decoder": SHARED,
    "biogpt, LayerDrop": ALONE,
    "deepseek_v32, tied scores": PACKED,
    "dots1, window": ALL,
    "ernie4_5_moe, router loss": REFUSED,
    "falcon, ALiBi": ALONE,
    "falcon, new decoder": SHARED,
    "falcon_h1, scaled": SHARED,
    "flex_olmo, router loss": REFUSED,
    "gemma2, dropout": ALL,
    "gemma2, low caps": ALL,
    "gemma3_text, both ways": REFUSED,
    "gpt2, dropout": SHARED,
    "gpt_bigcode, many keys": SHARED,
    "gpt_oss, router loss": REFUSED,
    "granite, scaled": ALL,
    "granitemoe, router loss": REFUSED,
    "granitemoe, scaled": ALL,
    "jamba, router loss": REFUSED,
    "llama, dropout": ALL,
    "llama, dynamic NTK": ALONE,
    "llama, linear": ALL,
    "llama, yarn": ALL,
    "minimax, router loss": REFUSED,
    "mistral, no window": ALL,
    "mixtral, dropout": ALL,
    "mixtral, jitter": ALONE,
    "mixtral, router loss": REFUSED,
    "mpt, scaled": SHARED,
    "olmoe, router loss": REFUSED,
    "opt, LayerDrop": ALONE,
    "phi, dropout": ALL,
    "phi3, longrope": ALONE,
    "phimoe, jitter": ALONE,
    "phimoe, router loss": REFUSED,
    "qwen2, window": ALL,
    "qwen2_moe, router loss": REFUSED,
    "qwen2_moe, window": PACKED,
    "qwen3, window": ALL,
    "qwen3_moe, router loss": REFUSED,
    "qwen3_moe, window": ALL,
    "qwen3_next, dropout": ALL,
    "qwen3_next, router loss": REFUSED,
    "smollm3, window": ALL,
    "xglm, LayerDrop": ALONE,
}
GETS = {name: gets for gets, names in FAMILIES.items() for name in names.split()} | VARIANTS
# Rows of each kind that take about a second, for the normal tier.
FAST = ("llama", "bloom", "bert", "opt, LayerDrop", "phi3, longrope", "mixtral, router loss")
# The text models of these are saved under a type that AutoModelForCausalLM does not load.
UNSAVED = ("emu3", "mllama")


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of the sweep."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import families
    import family_checks
    import family_configs
    import transformers

    transformers.logging.set_verbosity_error()
    return SimpleNamespace(table=families, checks=family_checks, configs=family_configs)


def rows_of(names: tuple[str, ...]) -> list[Any]:
    """Those of `FAST` in the normal tier, all others in the slow one."""
    return [pytest.param(one, marks=() if one in FAST else pytest.mark.slow) for one in names]


def test_every_family_has_a_row_in_the_table(sweep: SimpleNamespace) -> None:
    assert sorted(GETS) == sorted(sweep.configs.row_names())


def test_the_page_of_the_docs_is_the_table(sweep: SimpleNamespace) -> None:
    rows = {name: sweep.checks.Row(name, GETS[name]) for name in sweep.configs.row_names()}
    page = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    assert page == sweep.table.page_of(rows), (
        "run: python benchmarks/families.py --page docs/families.md"
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", rows_of(tuple(GETS)))
def test_a_family_gets_what_the_table_says_and_trains_as_plain_training(
    name: str, sweep: SimpleNamespace
) -> None:
    row = sweep.checks.check_row(name)
    assert row.wrong == ()
    assert row.gets == GETS[name], row.said


@pytest.mark.filterwarnings("ignore")
def test_the_command_makes_each_row_once_and_prints_the_table(
    sweep: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    out = str(tmp_path / "rows.jsonl")
    progress = []
    for names in (["bert"], ["bert", "electra"]):
        monkeypatch.setattr(sys, "argv", ["families.py", *names, "--out", out])
        sweep.table.main()
        printed = capsys.readouterr()
        progress += [line.split(":")[0] for line in printed.err.splitlines()]
    assert progress == ["1/1 bert", "1/1 electra"]
    assert printed.out == "refused (2): bert, electra\n"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", rows_of(tuple(GETS)))
def test_a_state_and_a_checkpoint_are_the_tuned_model_in_every_tensor(
    name: str, sweep: SimpleNamespace, tmp_path: Path
) -> None:
    import torch
    import transformers

    from atlas.errors import ModelError
    from atlas.models.local.load import CHECKPOINT_FOLDER
    from atlas.training import checkpoint, states

    tuned, fresh = (sweep.checks.make_model(name, weights) for weights in ("rescaled", "usual"))
    states.save_state(tmp_path / "state", tuned)
    states.load_state(tmp_path / "state", fresh)
    for of_tuned, of_fresh in (
        (tuned.named_parameters(), fresh.named_parameters()),
        (tuned.named_buffers(), fresh.named_buffers()),
    ):
        expected, found = dict(of_tuned), dict(of_fresh)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[one], expected[one]) for one in expected)

    no_tokenizer = SimpleNamespace(save_pretrained=lambda folder: None)
    if name in UNSAVED:
        with pytest.raises(ModelError, match="cannot be loaded"):
            checkpoint.save_checkpoint(tmp_path, tuned, None, no_tokenizer, "")
        return
    checkpoint.save_checkpoint(tmp_path, tuned, None, no_tokenizer, "")
    saved = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / CHECKPOINT_FOLDER)
    ids = torch.from_numpy(sweep.checks.samples()[0].input_ids).long()[None]
    with torch.no_grad():
        logits = [one.eval()(input_ids=ids, use_cache=False).logits for one in (tuned, saved)]
    assert (logits[1] - logits[0]).abs().max() <= 1e-5 * logits[0].abs().max()
