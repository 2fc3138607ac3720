"""The paper's tasks by the item ids of AgentTraj (training) and AgentEval (test).

An item id is a prefix and a number: `babyai_12`, `lmrlgym_maze_7`. Where the numbers are a short
fact they stand in the table of a world, else they are read from a file that the user has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator

from atlas.config import MAY_NAME_FILE
from atlas.environments.paper.item_files import read_items
from atlas.environments.splits import take_tasks
from atlas.errors import ConfigError

PAPER_TRAIN, PAPER_TEST = "paper_train", "paper_test"
_FORMS = "file of this world, the run folder of its import, or numbers such as 0-99,120"
AGENTTRAJ_HELP = f"the tasks of the split paper_train: AgentTraj's {_FORMS}"
AGENTEVAL_HELP = f"the tasks of the split paper_test: AgentEval's {_FORMS}"
DROP_LEAKED_HELP = "leave what is also in AgentTraj (paper_train) out of the test splits"


def _number_as_text(value: Any) -> Any:
    """`agenttraj=41` is an integer in YAML."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


# The type of the settings `agenttraj` and `agenteval`.
ItemSource = Annotated[str, BeforeValidator(_number_as_text), MAY_NAME_FILE]


class PaperItems:
    """The numbers of the tasks of paper_train and paper_test.

    Args:
        prefix: what the item ids of the world begin with.
        size: the numbers of its tasks are below it; None: any number is a task.
        train, test: the numbers, where they are a short fact.
        agenttraj, agenteval: the files that have them; they take precedence.
        known_leak: what is known of the leak without AgentTraj's file.
    """

    def __init__(
        self,
        world: str,
        prefix: str,
        *,
        size: int | None = None,
        train: Sequence[int] | None = None,
        test: Sequence[int] | None = None,
        agenttraj: str | None = None,
        agenteval: str | None = None,
        drop_leaked: bool = False,
        known_leak: str | None = None,
    ) -> None:
        self.prefix = prefix
        self._world = world
        self._size = size
        self._drop_leaked = drop_leaked
        self._known_leak = known_leak
        self._paths = {PAPER_TRAIN: agenttraj, PAPER_TEST: agenteval}
        self._listed = {PAPER_TRAIN: train, PAPER_TEST: test}
        self._numbers: dict[str, list[int]] = {}

    def numbers(self, split: str) -> list[int]:
        """The numbers of a split, each once, in the order of the file.

        Raises:
            ConfigError: they are in a file that is not given.
        """
        found = self._all(split)
        if split == PAPER_TEST and self._drop_leaked:
            known = set(self._all(PAPER_TRAIN))
            return [number for number in found if number not in known]
        return found

    def take(self, split: str, num_tasks: int) -> list[int]:
        """The first numbers of a split; ConfigError if there are fewer."""
        return take_tasks(self._world, split, num_tasks, self.numbers(split))

    def notes(self, split: str) -> list[str]:
        """What to know of the leak between the splits."""
        if split != PAPER_TEST:
            return []
        try:
            leaked = set(self._all(PAPER_TRAIN)) & set(self._all(PAPER_TEST))
        except ConfigError:
            if self._known_leak is None:
                return []
            advice = "name AgentTraj's file (agenttraj=…) to find or drop them"
            return [f"{self._world}: {self._known_leak}; {advice}"]
        if not leaked:
            return []
        size = len(self._all(PAPER_TEST))
        done = "left out" if self._drop_leaked else "drop_leaked=true leaves them out"
        count = f"{len(leaked)} of the {size} tasks of {PAPER_TEST}"
        return [f"{self._world}: {count} are also in {PAPER_TRAIN}; {done}"]

    def _all(self, split: str) -> list[int]:
        """The numbers of a split, leaked ones too."""
        if split not in self._numbers:
            self._numbers[split] = list(dict.fromkeys(self._given(split)))
        return self._numbers[split]

    def _given(self, split: str) -> Sequence[int]:
        setting = "agenttraj" if split == PAPER_TRAIN else "agenteval"
        path, listed = self._paths[split], self._listed[split]
        if path is not None:
            items = read_items(path, self.prefix, setting, size=self._size)
            return [item.number for item in items if item.number is not None]
        if listed is None:
            name = "AgentTraj" if split == PAPER_TRAIN else "AgentEval"
            raise ConfigError(
                f"{self._world}: the item ids of split '{split}' are in {name}'s file of this "
                f"world, which is not given. Set {setting}=PATH."
            )
        return listed
