"""Whether it is of any use to go on asking a model, judged by its answers so far."""

from __future__ import annotations

from atlas.errors import ModelError
from atlas.records import Selection
from atlas.selection.judging.judge_config import JudgeConfig

# Unusable answers from the start on: then the model or the settings are at fault.
HOPELESS_AFTER = 20


class AnswerCheck:
    """Counts over all processes of a run: it is given the selections of earlier ones, too."""

    def __init__(self, config: JudgeConfig) -> None:
        self._config = config
        self._has_usable = False
        self._num_unusable = 0

    def add(self, selection: Selection) -> None:
        """One more selection.

        Raises:
            ModelError: there is a limit to what may be paid, and the server reports no tokens; or
                the first 20 answers were all unusable.
        """
        usage, limit_usd = selection.usage, self._config.max_cost_usd
        if selection.problem is None:
            # Without a digest and a request, nobody was asked.
            self._has_usable |= selection.prompt_digest is not None or usage.requests > 0
            num_tokens = usage.input_tokens + usage.output_tokens
            if limit_usd is not None and usage.requests and not num_tokens:
                raise ModelError(
                    "the endpoint does not report how many tokens an answer took, so "
                    f"max_cost_usd={limit_usd:g} cannot be held. What was answered is kept. "
                    "Leave max_cost_usd out, or ask a server that reports its usage."
                )
        elif usage.requests:
            # A problem without a request is not the model's.
            self._num_unusable += 1
        if not self._has_usable and self._num_unusable >= HOPELESS_AFTER:
            raise ModelError(
                f"model '{self._config.model}': the first {HOPELESS_AFTER} questions got no "
                f"usable answer. The last: {selection.problem}. Choose another model or other "
                "settings, and another --out."
            )
