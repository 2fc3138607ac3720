r"""What AgentGym's own client does to a response before it calls the server: `text -> action`.

The servers get exactly what that client sends, so that an agent is judged as in the paper. The
rules are those since September 2025; `client_version=2024-06` has those of the first release,
with which AgentTraj was made.

>>> parse_response("Thought:\nGo.\n\nAction:\nget 2 oak-log!", "cleaned").sent
'get 2 oaklog'
>>> parse_response("Action: a\nAction: b", "cleaned").refusal
"Error: Only one 'Action' is allowed per response. Please adjust your response."
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from atlas.environments.agentgym.servers import Rule

ONE_ACTION = "Error: Only one 'Action' is allowed per response. Please adjust your response."
NO_FENCE = (
    "Cannot parse action from response. Your action should be inside triple backticks (```). "
    "Please adjust accordingly."
)
_ACTION = re.compile(r"Action:\s*(.*?)(?=\n|$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ParsedResponse:
    """What is sent to the server, or the observation that the client itself gives.

    Attributes:
        action: the action of the agent; None if the response had none.
    """

    sent: str = ""
    action: str | None = None
    refusal: str | None = None


def parse_response(text: str, rule: Rule) -> ParsedResponse:
    """What the client sends for a response."""
    if rule == "cleaned":
        found = _ACTION.findall(text)
        if len(found) > 1:
            return ParsedResponse(refusal=ONE_ACTION)
        return _sent(_clean(found[-1]) if found else "")
    if rule == "cleaned_2024":
        return _sent(_clean(text.split("Instruction:")[0].split("Action:")[-1]))
    if rule == "fenced":
        fenced = re.findall(r"```(.*?)```", text, re.DOTALL)
        if not fenced:
            return ParsedResponse(refusal=NO_FENCE)
        return ParsedResponse(sent=text, action=fenced[-1].strip() or None)
    if rule == "raw":
        return ParsedResponse(sent=text, action=text.strip() or None)
    if rule == "sql":
        return _sent(text.split("```sql")[-1].split("```")[0].strip())
    text = text.removesuffix("</s>")
    if rule == "first":
        parts = text.split("Action:")
        return _sent((parts[1] if len(parts) > 1 else parts[0]).strip())
    _, marker, action = text.rpartition("Action:")
    # Without a marker, only the actions of a shop are found.
    is_shop = "search[" in text or "click[" in text
    return _sent(action.strip() if marker or is_shop else "")


def _clean(action: str) -> str:
    return " ".join(re.sub(r"[^A-Za-z0-9, ]+", "", action).split())


def _sent(action: str) -> ParsedResponse:
    return ParsedResponse(sent=action, action=action or None)
