"""A reader of `atlas export --to parquet`: messages whose entry in `critical` is true."""

from __future__ import annotations

from atlas.auditing.trainers.flagged_turns import FlaggedTurns


class ParquetTrainer(FlaggedTurns):
    """Assistant turns that `critical` marks, as your own code would read them."""

    version = "the columns of atlas export"
    flag = "critical"
    default = False
