"""What the answers of a model so far say about all that are still to be paid for: whether it is of any use to go on."""

from __future__ import annotations

from atlas.errors import ModelError
from atlas.records import Selection

HOPELESS_AFTER = 20  # unusable answers from the start on: the model or the settings are at fault, not the trajectories


class AnswerCheck:
    """Counts over all processes of a run: it is to be told of the selections that an earlier one left, too."""

    def __init__(self, model: str, limit_usd: float | None) -> None:
        self._model = model
        self._limit_usd = limit_usd
        self._has_usable = False
        self._num_unusable = 0

    def add(self, selection: Selection) -> None:
        """One more selection.

        Raises:
            ModelError: there is a limit to what may be paid, and a server that says nothing about tokens; or the first 20 answers
                were all unusable.
        """
        usage = selection.usage
        if selection.problem is None:
            self._has_usable |= (
                selection.prompt_digest is not None or usage.requests > 0
            )  # else nobody was asked
            if (
                self._limit_usd is not None
                and usage.requests
                and not usage.input_tokens + usage.output_tokens
            ):
                raise ModelError(
                    f"the endpoint does not say how many tokens an answer took, so max_cost_usd={self._limit_usd:g} cannot be held. "
                    "What was answered is kept. Leave --max-cost out, or ask a server that tells its usage."
                )
        elif usage.requests:  # else the problem is not the model's
            self._num_unusable += 1
        if not self._has_usable and self._num_unusable >= HOPELESS_AFTER:
            raise ModelError(
                f"model '{self._model}': the first {HOPELESS_AFTER} questions got no usable answer. "
                f"The last: {selection.problem}. Choose another model or other settings, and another --out."
            )
