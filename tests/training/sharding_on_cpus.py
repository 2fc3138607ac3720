"""`atlas` in a process where FSDP2 shards on CPUs: accelerate does it only on accelerators.

`python -m tests.training.sharding_on_cpus train …` under a launcher; the environment variables are
those that `accelerate launch` sets for a config file with FSDP.
"""

from __future__ import annotations

import sys
from typing import Any

from accelerate import state
from accelerate.utils import DistributedType

from tests.training.atlas_and_threads import main

# What `accelerate launch --config_file` sets for fsdp_version: 2.
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

    state.AcceleratorState.__init__ = start


if __name__ == "__main__":
    shard_on_cpus()
    sys.exit(main())
