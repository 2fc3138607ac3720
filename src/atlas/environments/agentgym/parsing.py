r"""What AgentGym's own client does to a response before it calls the server: `text -> action`.

The servers get exactly what that client sends, so that an agent is judged as in the paper. The
rules are those since September 2025; `client=2024` has those of the first release, with which
AgentTraj was made.

>>> parse_response("Thought:\nGo.\n\nAction:\nget 2 oak-log!", "cleaned").sent
'get 2 oaklog'
>>> parse_response("Action: a\nAction: b", "cleaned").refusal
"Error: Only one 'Action' is allowed per response. Please adjust your response."
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from atlas.environments.agentgym.servers import Rule
from atlas.environments.paper.responses import (
    ONLY_ONE_ACTION,
    ReadAction,
    read_last_action,
    read_rest_as_action,
    read_single_action,
)

NO_FENCE = (
    "Cannot parse action from response. Your action should be inside triple backticks (```). "
    "Please adjust accordingly."
)
# Rules that the paper's worlds without a server share.
_READERS: dict[Rule, Callable[[str], ReadAction]] = {
    "cleaned": read_single_action,
    "cleaned_2024": read_last_action,
    "first": read_rest_as_action,
}


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
    if rule in _READERS:
        read = _READERS[rule](text)
        return ParsedResponse(refusal=ONLY_ONE_ACTION) if read.has_several else _sent(read.text)
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
    _, marker, action = text.rpartition("Action:")
    # Without a marker, only the actions of a shop are found.
    is_shop = "search[" in text or "click[" in text
    return _sent(action.strip() if marker or is_shop else "")


def _sent(action: str) -> ParsedResponse:
    return ParsedResponse(sent=action, action=action or None)
