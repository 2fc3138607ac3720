"""What only a GPU can show: flash kernels against one dense mask, and passes without waiting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlas.training.config import EngineConfig
from atlas.training.engine.choose_parts import choose_parts
from atlas.training.engine.exact_engine import PARTS
from atlas.training.engine.flash_kernels import CudaFlash, kernels_for
from atlas.training.engine.packed_attention import attend, plan_for
from tests.training.engine.test_packed_attention import brute_force, forest, sees
from tests.training.tiny_families import example, nested_examples, reference_loss, tiny

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
GPU = torch.device("cuda", 0)


@pytest.mark.parametrize("window", [None, 1, 50])
@pytest.mark.parametrize("asks_everywhere", [True, False])
@pytest.mark.parametrize("width", [64, 128])
def test_variable_length_flash_attention_has_the_output_and_gradients_of_one_dense_mask(
    window: int | None, asks_everywhere: bool, width: int
) -> None:
    row = forest([(130, 0), (40, 1), (70, 1), (33, 2), (200, 0), (1, 3)])
    num_tokens = len(row.position_ids)
    places = (
        np.arange(num_tokens)
        if asks_everywhere
        else np.flatnonzero(np.random.default_rng(0).random(num_tokens) < 0.3)
    )
    mask = torch.from_numpy(sees(row, window)[places]).to(GPU)
    torch.manual_seed(0)
    given = [
        torch.randn(1, heads, length, width, device=GPU, dtype=torch.bfloat16, requires_grad=True)
        for heads, length in ((8, len(places)), (2, num_tokens), (2, num_tokens))
    ]
    kernels, ways = kernels_for(GPU), set[str]()
    plan = plan_for(row, None if asks_everywhere else places, GPU, kernels, ways)
    output, _ = attend(None, *given, None, 0.1, sliding_window=window, plan=plan)
    assert ways == {CudaFlash.name}
    expected = brute_force(*(states.double() for states in given), mask, 0.1)
    upstream = torch.randn_like(output)
    found = torch.autograd.grad(output, given, upstream)
    wanted = torch.autograd.grad(expected, given, upstream.double())
    for one, other in zip((output, *found), (expected, *wanted), strict=True):
        assert (one.double() - other.double()).norm() < 0.02 * other.double().norm()


def test_the_engine_in_bf16_uses_flash_attention_and_has_the_reference_loss() -> None:
    model, examples = tiny("llama").float().to(GPU), nested_examples()
    chosen = choose_parts(model, EngineConfig(), autocast=torch.bfloat16)
    assert (chosen.engine.parts, chosen.flash_problem, chosen.engine.ways) == (
        PARTS,
        None,
        {CudaFlash.name},
    )
    with torch.autocast("cuda", torch.bfloat16):
        loss = chosen.engine.loss(model, examples).item()
    assert loss == pytest.approx(reference_loss(tiny("llama"), examples).item(), rel=0.02)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature")
def test_a_pass_never_waits_for_the_gpu() -> None:
    model, examples = tiny("llama").float().to(GPU), [example(seed, 200) for seed in range(4)]
    engine = choose_parts(model, EngineConfig(), autocast=torch.bfloat16).engine
    for mode in (
        "default",
        "error",
    ):  # the first pass makes what is made once, such as pinned memory
        torch.cuda.set_sync_debug_mode(mode)
        try:
            with torch.autocast("cuda", torch.bfloat16):
                loss = engine.loss(model, examples)
            loss.backward()  # type: ignore[no-untyped-call]
        finally:
            torch.cuda.set_sync_debug_mode("default")
