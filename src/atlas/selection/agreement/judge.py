"""Asks a language model whether two actions do the same: `step + responses -> verdicts`.

One question shows the trajectory up to the expert's response and all proposals that differ from it,
each once. What agrees by `call` is not asked about. The wording is by atlas. PivotRL (arXiv
2603.21383) uses such a judge for actions that can be written in many ways, such as shell commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field, model_validator

from atlas.config import BY_CONTENT
from atlas.errors import DataError
from atlas.records import Message, Trajectory, Usage
from atlas.selection.agreement.actions import Action
from atlas.selection.agreement.base import Verdict
from atlas.selection.agreement.call import normal_form
from atlas.selection.agreement.compare_actions import give_verdicts, read_actions
from atlas.selection.costs import CHARS_PER_TOKEN
from atlas.selection.judging.answer import AnswerError, answer_list, quoted
from atlas.selection.judging.judge import AsksJudge
from atlas.selection.judging.judge_config import JudgeConfig
from atlas.selection.judging.prompt import COMPLAINT, FENCE, JudgePrompt, JudgeQuestion, schema_of
from atlas.selection.judging.transcript import disarm, transcribe
from atlas.selection.selectors.base import SelectorContext
from atlas.selection.text_features import join_texts, message_text

FORM = f"""\
Proposals are numbered from 0. Judge each of them once. Answer with one JSON object and nothing \
else:
{{"verdicts": [{{"index": 0, "same": true}}]}}

{FENCE}
The same holds for the proposals: every line of theirs starts with "| ".
"""
RUBRIC = f"""\
You compare actions of an agent. You see the beginning of a recorded trajectory. Its last response \
is the expert's. Below it are proposals: responses of another agent in the same situation.

Say for each proposal whether its action does the same as the action of the expert's response: \
carried out in this situation, it has the same effect on the environment and brings the agent the \
same information. Compare what is done; the thoughts, the wording and the order of independent \
parts do not matter. A proposal that does less, more or something else is not the same, even if it \
is just as good. A proposal without an action that can be carried out is not the same.

{FORM}"""
REQUEST = """\
The expert's response is step {step}. There are {number} proposals. Judge each of them.

"""
RULES = "one verdict, true or false, for each proposal.\n"
VERDICT = {"index": {"type": "integer"}, "same": {"type": "boolean"}}
ANSWER_SCHEMA = schema_of(verdicts={"type": "array", "items": schema_of(**VERDICT)})
AGREEMENT_PROMPT = JudgePrompt(
    "agreement", 1, RUBRIC, (REQUEST,), COMPLAINT + RULES, ANSWER_SCHEMA, FORM
)
TOKENS_PER_VERDICT = 15


class AgreementJudgeConfig(JudgeConfig):
    """Settings of `judge`: the model that compares two actions."""

    rubric: Annotated[str | None, BY_CONTENT] = Field(
        default=None,
        description="a text file that says which actions count as the same, in place of the text "
        "by atlas; the form of the answer and the request follow it",
    )

    @model_validator(mode="after")
    def _is_asked_at_once(self) -> AgreementJudgeConfig:
        for name in ("batch", "batch_size", "batch_poll_seconds"):
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name}={str(value).lower()}: the judge of an agreement is asked while "
                    f"responses are sampled, not in batches. Leave {name} out"
                )
        return self


class JudgeAgreement(AsksJudge[list[bool]]):
    """The same according to a language model, which is asked about actions that are not equal."""

    Config = AgreementJudgeConfig
    prompt = AGREEMENT_PROMPT

    def __init__(self, config: AgreementJudgeConfig, context: SelectorContext) -> None:
        super().__init__(config, context)
        self._places = asyncio.Semaphore(config.endpoint.max_in_flight)

    async def compare(
        self, trajectory: Trajectory, step: int, responses: Sequence[Message]
    ) -> list[Verdict]:
        """Ask one question about all different actions.

        Raises:
            EndpointError: the endpoint gave no answer.
        """
        expert, found = read_actions(trajectory, step, responses)
        expected = None if expert is None else normal_form(expert)
        asked = (str(one) for one in found if one is not None and normal_form(one) != expected)
        proposals = [] if expert is None else list(dict.fromkeys(asked))
        judged = await self._judge(trajectory, step, proposals) if proposals else {}

        def agree(one: Action) -> Verdict:
            return Verdict(True) if normal_form(one) == expected else judged[str(one)]

        return give_verdicts(expert, found, agree)

    def estimate(self, trajectory: Trajectory, num_samples: int) -> Usage:
        """Estimate requests and tokens, if no two proposals are equal, nor one the expert's."""
        usage, history = Usage(), len(join_texts(trajectory.prompt))
        fixed = len(self.prompt.rubric) + len(REQUEST)
        for step in trajectory.steps:
            own = len(message_text(step.response))
            history += own + len(join_texts(step.observation))
            shown = min(history, self.config.max_prompt_chars)
            usage += Usage(
                requests=1,
                input_tokens=(fixed + shown + num_samples * own) // CHARS_PER_TOKEN,
                output_tokens=TOKENS_PER_VERDICT * num_samples,
            )
        return usage

    def read(self, text: str, question: JudgeQuestion) -> list[bool]:
        return read_verdicts(text, question.budget)

    async def _judge(
        self, trajectory: Trajectory, step: int, proposals: Sequence[str]
    ) -> Mapping[str, Verdict]:
        try:
            question = self._question(trajectory, step, proposals)
        except DataError as error:
            return dict.fromkeys(proposals, Verdict(None, str(error)))
        async with self._places:
            answer, problem, _ = await self.ask(trajectory.id, question)
        if answer is None:
            return dict.fromkeys(proposals, Verdict(None, f"the judge: {problem}"))
        verdicts = (Verdict(same, None if same else "by the judge") for same in answer)
        return dict(zip(proposals, verdicts, strict=True))

    def _question(
        self, trajectory: Trajectory, step: int, proposals: Sequence[str]
    ) -> JudgeQuestion:
        """The trajectory up to the step, shortened if it is too long, and the proposals."""
        until = trajectory.model_copy(
            update={"steps": trajectory.steps[: step + 1], "final_observation": ()}
        )
        request = REQUEST.format(step=step, number=len(proposals))
        listed = "".join(
            f"\n## proposal {number}\n{disarm(text)}" for number, text in enumerate(proposals)
        )
        rubric = Message(role="system", content=self.prompt.rubric)
        room = self.config.max_prompt_chars - len(rubric.content) - len(request) - len(listed)
        # The last part has the step.
        shown = transcribe(until, lambda steps: room)[-1].text
        asked = Message(role="user", content=request + shown + listed)
        return JudgeQuestion((rubric, asked), range(step, step + 1), len(proposals))


def read_verdicts(text: str, number: int) -> list[bool]:
    """The verdicts on proposals 0 to `number` - 1 in an answer.

    Raises:
        AnswerError: no such answer, or a proposal without exactly one verdict.
    """
    verdicts: dict[int, bool] = {}
    for place, entry in enumerate(answer_list(text, "verdicts")):
        given = entry if isinstance(entry, dict) else {}
        index, same = given.get("index"), given.get("same")
        is_index = isinstance(index, int) and not isinstance(index, bool)
        if not (isinstance(index, int) and is_index and isinstance(same, bool)):
            form = '{"index": 0, "same": true}'
            raise AnswerError(f"entry {place} of verdicts is {quoted(entry)}, expected {form}")
        if index not in range(number):
            expected = f"expected 0 to {number - 1}"
            raise AnswerError(f"proposal {quoted(index)} does not exist, {expected}")
        if index in verdicts:
            raise AnswerError(f"proposal {index} has more than one verdict")
        verdicts[index] = same
    if len(verdicts) < number:
        missing = min(set(range(number)) - verdicts.keys())
        raise AnswerError(f"proposal {missing} has no verdict")
    return [verdicts[index] for index in range(number)]
