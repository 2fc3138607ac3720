"""MiniWoB++ as a text environment: a small web page, one action per turn.

The observation lists the elements of the page, one a line; what can be clicked has a number. The
page itself judges the result, and its reward is taken without the part that decays with wall time.
Score: that reward, at least 0. Success: the page gives its full reward of 1, which is stricter than
the usual "above 0" on pages that also reward a part of the task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from atlas.environments.base import Expert, StepResult
from atlas.environments.instruction import load_instruction
from atlas.environments.miniwob.browser import Browser, find_browser
from atlas.environments.miniwob.config import MiniWobConfig
from atlas.environments.miniwob.page import Page, PageView
from atlas.environments.react import ANSWER_FORMAT, NO_ACTION, parse_action, user
from atlas.environments.splits import check_split, draw_tasks, kinds_in_turn, split_of
from atlas.errors import EpisodeError
from atlas.extras import missing, require_extras
from atlas.records import Message, Task

INSTRUCTION = f"""\
You use a small web page to reach a goal, one action per turn. Each turn lists what the page \
shows; elements with a number in brackets can be used.
Actions:
- click <number>
- type <text>: replaces what is in the field that was clicked last
- select <number> <option>: chooses an option of a list
Some pages end with the first wrong click. {ANSWER_FORMAT}"""

TRAINED = (
    "login-user",
    "enter-password",
    "click-checkboxes",
    "read-table",
    "click-collapsible-2-nodelay",
)
# Other kinds of pages, and one with more to tick.
HELD_OUT = (
    "form-sequence-2",
    "click-tab-2",
    "choose-list",
    "simple-arithmetic",
    "click-checkboxes-large",
)
PAGES = {"train": TRAINED, "held_in_test": TRAINED, "held_out_test": HELD_OUT}
FULL_REWARD = 1 - 1e-9


class MiniWobEnvironment:
    """MiniWoB++: fill in forms, tick boxes and follow links on small pages in a local browser."""

    Config = MiniWobConfig
    name = "miniwob"

    def __init__(self, config: MiniWobConfig) -> None:
        require_extras(("web",))
        self._pages = _folder_of_pages()
        self._program = find_browser(config.browser)
        self.prompt = load_instruction(config.instruction, INSTRUCTION, "miniwob/")
        self.max_steps = config.max_steps
        self.num_turns = 0
        self._config = config
        self._browser: Browser | None = None
        self._page: Page | None = None
        self._view = PageView()
        self._task: Task | None = None

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first tasks of a split, one of each page in turn; which one decides what it shows."""
        check_split("miniwob", split, PAGES)
        wanted = "train" if split == "train" else "held_in_test"
        candidates = self._candidates(split, seed)
        return draw_tasks(
            "miniwob", split, num_tasks, candidates, lambda content: split_of(content) == wanted
        )

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Open the page of `task`, and return the goal and what the page shows."""
        if task.seed is None or task.group not in (*TRAINED, *HELD_OUT):
            raise EpisodeError(
                f"task '{task.id}' has page '{task.group}' and seed {task.seed}, expected a seed "
                f"and one of {', '.join((*TRAINED, *HELD_OUT))}."
            )
        self._page = self._open(task.group, task.seed)
        self._view, self._task, self.num_turns = self._page.look(), task, 0
        return user(f"Your goal: {self._view.goal}\n{self._view.text}")

    @property
    def view(self) -> PageView:
        """What the page shows."""
        return self._view

    def expert(self, seed: int) -> Expert:
        """A player for the episode that was just reset; it reads only what the page shows."""
        from atlas.environments.miniwob.expert import MiniWobExpert

        if self._task is None:
            raise EpisodeError("miniwob: no episode has started. Call reset first.")
        return MiniWobExpert(self._config.expert, self, self._task, seed)

    def step(self, response: Message) -> StepResult:
        """Carry out the action in the text of `response`."""
        if self._page is None or self._view.is_over or self.num_turns >= self.max_steps:
            raise EpisodeError("miniwob: the episode is over. Call reset before the next step.")
        self.num_turns += 1
        action = parse_action(response.content)
        refusal = NO_ACTION if action is None else self._page.act(action, self._view)
        self._view = self._page.look()
        score = min(1.0, max(0.0, self._view.reward)) if self._view.is_over else 0.0
        success = score >= FULL_REWARD
        if self._view.is_over:
            text = "The task is completed." if success else "The task ended without success."
        elif action is not None and refusal is not None:
            text = f"That action is not possible: {refusal}.\n{self._view.text}"
        else:
            text = refusal or self._view.text
        return StepResult(
            observation=user(text),
            reward=score,
            terminated=self._view.is_over,
            truncated=not self._view.is_over and self.num_turns >= self.max_steps,
            success=success,
            score=score,
            action=action,
            is_invalid=refusal is not None,
        )

    def close(self) -> None:
        """End the browser."""
        browser, self._browser, self._page = self._browser, None, None
        if browser is not None:
            browser.close()

    def _open(self, page: str, seed: int) -> Page:
        if self._browser is not None and not self._browser.is_alive:
            self.close()
        if self._browser is None:
            self._browser = Browser(self._program)
        return Page(self._browser, self._pages / f"{page}.html", seed)

    def _candidates(self, split: str, seed: int) -> Iterator[tuple[str, Task]]:
        for page, own_seed in kinds_in_turn(PAGES[split], seed):
            view = self._open(page, own_seed).look()
            task = Task(
                id=f"miniwob/{page}/{own_seed}",
                environment="miniwob",
                group=page,
                split=split,
                seed=own_seed,
                goal=view.goal,
            )
            yield f"{page}\n{view.goal}\n{view.text}", task


def _folder_of_pages() -> Path:
    # The package itself is not imported: it registers gymnasium environments and loads Selenium.
    found = find_spec("miniwob")
    for folder in (found.submodule_search_locations if found is not None else None) or ():
        if (pages := Path(folder) / "html" / "miniwob").is_dir():
            return pages
    raise missing("miniwob", "web")
