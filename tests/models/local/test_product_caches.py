"""The caches of products in bf16 are bounded from the first use of a model in a process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from atlas.models.local.precision import CACHED_PRODUCTS, PRODUCT_CACHES
from atlas.training.engine.product_attention import _has_products

# Megabytes by which a process grows over products of 600 new shapes, after the caches are full.
GROWTH = """
import os, torch
from atlas.models.local.load import import_transformers

import_transformers()
torch.set_num_threads(1)
rows, weights = torch.ones(1000, 64).bfloat16(), torch.ones(64, 64).bfloat16()

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

for length in range(1, 400):
    rows[:length] @ weights
before = resident()
for length in range(400, 1000):
    rows[:length] @ weights
print(resident() - before)
"""


@pytest.mark.skipif(
    not _has_products() or not sys.platform.startswith("linux"),
    reason="no products in bf16, or no /proc",
)
def test_memory_does_not_grow_with_new_lengths_and_a_user_may_set_another_bound() -> None:
    def growth(**changes: str) -> float:
        kept = {key: value for key, value in os.environ.items() if key not in PRODUCT_CACHES}
        command = [sys.executable, "-W", "ignore", "-c", GROWTH]
        done = subprocess.run(command, capture_output=True, text=True, env=kept | changes)
        assert done.returncode == 0, done.stderr
        return float(done.stdout)

    bounded = growth()
    # 600 more entries of both caches, half a megabyte each.
    free = growth(**dict.fromkeys(PRODUCT_CACHES, str(4 * CACHED_PRODUCTS)))
    assert free > 200
    assert bounded < 0.4 * free
