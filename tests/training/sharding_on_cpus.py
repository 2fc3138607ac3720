"""`atlas` in a process where FSDP2 shards on CPUs: accelerate does it only on accelerators.

`python -m tests.training.sharding_on_cpus train …` under a launcher. With EMPTY_RANKS=1, only the
first rank loads weights, as some versions of transformers do.
"""

from __future__ import annotations

import os
from typing import Any

from accelerate import state
from accelerate.utils import DistributedType

import tests.training.atlas_and_threads  # noqa: F401
from atlas.cli import main
from atlas.training import tune_model

# What `accelerate launch --config_file` sets for a file with fsdp_version: 2.
FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
}


def shard_on_cpus() -> None:
    """Let accelerate keep the FSDP plugin that it drops for gloo ranks."""
    whole = state.AcceleratorState.__init__

    def start(self: Any, *arguments: Any, **options: Any) -> None:
        whole(self, *arguments, **options)
        # Each later construction takes the type of the process group over again.
        plugin = options.get("fsdp_plugin") or self.__dict__.get("fsdp_plugin")
        if plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, plugin
            if self._mixed_precision != "no":
                plugin.set_mixed_precision(self._mixed_precision)

    state.AcceleratorState.__init__ = start  # type: ignore[method-assign]


def leave_ranks_empty() -> None:
    """Only the first rank has weights after loading."""
    load = tune_model._load

    def empty(*arguments: Any) -> Any:
        model = load(*arguments)
        if os.environ["RANK"] != "0":
            # transformers gives the other ranks their buffers.
            buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
            model.to("meta")
            model.tie_weights()
            for name, buffer in buffers.items():
                path, _, leaf = name.rpartition(".")
                model.get_submodule(path)._buffers[leaf] = buffer
        return model

    tune_model._load = empty


if __name__ == "__main__":
    shard_on_cpus()
    if os.environ.get("EMPTY_RANKS"):
        leave_ranks_empty()
    main()
