"""What selections and other runs say about each trajectory: `index -> marks on its rows`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from atlas.viewing.web.database import Database
from atlas.viewing.web.index_lines import BIT_OF_KIND
from atlas.viewing.web.sources import ShownRun

# Runs of these commands are arms: the same task may end otherwise in another one.
ARMS = ("evaluate", "import")


def pairs_of(sources: Sequence[ShownRun]) -> list[tuple[str, str]]:
    """(selection, trajectories): the keys of selections and of what they were made from."""
    return [
        (selection.key, trajectories.key)
        for selection in sources
        for trajectories in sources
        if selection.kind == "selection"
        and trajectories.kind == "trajectories"
        and trajectories.digest is not None
        and selection.made_from == trajectories.digest
    ]


def mark_rows(database: Database, sources: Sequence[ShownRun]) -> None:
    """Mark which rows are selected, disputed or flipped, if anything has changed."""
    connection = database.connection
    pairs = pairs_of(sources)
    arms = [one.key for one in sources if one.kind == "trajectories" and one.command in ARMS]
    stamps = [
        tuple(row)
        for row in connection.execute("select source, stamp, lines from files order by source")
    ]
    marked_for = json.dumps([stamps, pairs, arms])
    known = connection.execute("select marked_for from marks").fetchone()
    if known and known[0] == marked_for:
        return
    some_kind = " | ".join(f"max(s.kinds & {bit})" for bit in BIT_OF_KIND.values())
    with database.transaction() as inside:
        inside.execute(
            "update trajectories set selected = 0, counts = '{}', kinds = 0, disagrees = 0, "
            "selection_fault = null where counts <> '{}' or selection_fault is not null"
        )
        inside.execute("create temp table if not exists pairs (selection text, trajectories text)")
        inside.execute("delete from pairs")
        inside.executemany("insert into pairs values (?, ?)", pairs)
        inside.execute(
            f"""
            update trajectories set
              selected = found.selected, counts = found.counts, kinds = found.kinds,
              disagrees = found.disagrees, selection_fault = found.fault
            from (
              select t.number as number, max(s.num) as selected,
                json_group_object(s.source, s.num) as counts, {some_kind} as kinds,
                count(distinct case when s.fault is null then s.steps end) > 1 as disagrees,
                min(s.source || ': ' || s.fault) as fault
              from pairs p
              join selections s on s.source = p.selection
              join trajectories t on t.source = p.trajectories and t.id = s.id
              group by t.number
            ) as found
            where trajectories.number = found.number
            """
        )
        inside.execute(
            """
            update trajectories set flipped =
              source in (select value from json_each(:arms)) and (task, environment) in (
                select task, environment from trajectories
                where outcome in ('success', 'failure', 'truncated')
                  and source in (select value from json_each(:arms))
                group by task, environment
                having sum(outcome = 'success') > 0 and sum(outcome <> 'success') > 0
                  and count(distinct source) > 1
              )
            """,
            {"arms": json.dumps(arms)},
        )
        inside.execute("delete from marks")
        inside.execute("insert into marks values (?)", (marked_for,))
