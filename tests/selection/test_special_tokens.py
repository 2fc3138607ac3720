"""No special token of a known chat template survives in a question, and the text stays readable."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.selection.judging.transcript import disarm, disarm_tokens

BAR = "\uff5c"
UNDER = "\u2581"
# The tokens that end a turn, name a role or frame a call, by family.
TOKENS: dict[str, str] = {
    "ChatML, Qwen, SmolLM": "<|im_start|> <|im_end|> <|endoftext|> <tool_call> </tool_call> "
    "<tool_response> </tool_response> <think> </think> <|vision_start|> <|image_pad|>",
    "Llama 2": "<s> </s> <unk> [INST] [/INST] <<SYS>> <</SYS>>",
    "Llama 3": "<|begin_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|> <|eom_id|> "
    "<|python_tag|> <|reserved_special_token_0|> <|finetune_right_pad_id|>",
    "Llama 4": "<|header_start|> <|header_end|> <|eot|>"
    " <|text_post_train_reserved_special_token_3|>",
    "Mistral": "[INST] [/INST] [TOOL_CALLS] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] "
    "[/TOOL_RESULTS] [TOOL_CONTENT] [CALL_ID] [ARGS] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [THINK] "
    "[/THINK] [IMG] [IMG_BREAK] [PREFIX] [SUFFIX] <SPECIAL_20> "
    "[control_8] [control_768]",
    "Moonlight": "[start_header_id] [end_header_id]",
    "Gemma": "<bos> <eos> <pad> <start_of_turn> <end_of_turn> <start_of_image> <unused7> <|turn> "
    '<turn|> <|tool_call> <tool_call|> <|channel> <|"|> <|think|>',
    "DeepSeek": " ".join(
        f"<{BAR}{name}{BAR}>"
        for name in (
            "User",
            "Assistant",
            f"begin{UNDER}of{UNDER}sentence",
            f"tool{UNDER}calls{UNDER}begin",
            f"tool{UNDER}sep",
            "DSML",
        )
    )
    + " <|EOT|>",
    "GLM": "[gMASK] [sMASK] [MASK] <sop> <eop> <|system|> <|user|> <|assistant|> <|observation|> "
    "<arg_key> </arg_value> /nothink".removesuffix(" /nothink"),
    "Phi": "<|system|> <|user|> <|assistant|> <|end|> <|tool|> <|/tool|> <|im_sep|>",
    "Kimi": "<|im_user|> <|im_assistant|> <|im_system|> <|im_middle|> <|tool_calls_section_begin|> "
    "<|tool_call_argument_begin|> [BOS] [EOS] [EOT] [PAD] [UNK]",
    "Cohere": "<BOS_TOKEN> <EOS_TOKEN> <|START_OF_TURN_TOKEN|> <|CHATBOT_TOKEN|> <|END_ACTION|> "
    "<|START_TOOL_RESULT|>",
    "gpt-oss": "<|start|> <|channel|> <|message|> <|end|> <|return|> <|call|> <|constrain|>",
    "MiniMax": "]~!b[ ]~b] [e~[ ]!p~[ ]!d~[ <minimax:tool_call> </minimax:tool_call> ]<]image[>[",
    "Nemotron": "<SPECIAL_10> <SPECIAL_12> <extra_id_0> <extra_id_1> <TOOLCALL> </AVAILABLE_TOOLS>",
    "Granite": "<|start_of_role|> <|end_of_role|> <|end_of_text|> <|tool_call|>",
    "InternLM, Baichuan": "[UNUSED_TOKEN_146] <|action_start|> <|plugin|> <reserved_106> [unused1]",
    "EXAONE": "[|system|] [|user|] [|assistant|] [|endofturn|] [BOS]",
    "OLMo, Falcon": "|||IP_ADDRESS||| |||EMAIL_ADDRESS||| >>TITLE<< >>ABSTRACT<< >>INTRODUCTION<<",
    "LFM2": "<|startoftext|> <|tool_list_start|> <|tool_call_start|>",
    "Seed, ERNIE, Hunyuan": f"<seed:bos> <seed:tool_call> <mask:1> <{BAR}hy_User{BAR}> <|extra_4|>",
    "StarCoder, BERT": "<fim_prefix> <jupyter_start> <0x0A> [CLS] [SEP]",
    "Inkling": "<|message_user|> <|content_model_end_sampling|> <|end_message|>",
}
PAIRS = [(family, token) for family, tokens in TOKENS.items() for token in tokens.split()]


@pytest.mark.parametrize(("family", "token"), PAIRS)
def test_a_special_token_does_not_survive(family: str, token: str) -> None:
    for text in (
        token,
        f"a{token}b",
        token * 3,
        f"{token}{token[:1]}",
        f"x\n{token}\n",
        f"<{token}",
    ):
        assert token not in disarm(text)
        # What was written can still be read.
        assert disarm_tokens(text).replace(" ", "") == text.replace(" ", "")


names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_:/.]{0,30}", fullmatch=True)


@given(
    before=st.text(max_size=20),
    after=st.text(max_size=20),
    name=names,
    bar=st.sampled_from(["|", BAR, ""]),
)
def test_a_token_of_a_family_to_come_does_not_survive_either(
    before: str, after: str, name: str, bar: str
) -> None:
    for token in (f"<{bar}{name}{bar}>", f"</{name}>", f"[|{name}|]", f"[{name.upper()}_X]"):
        assert token not in disarm(before + token + after)


@given(st.text(alphabet="<>[]|~!_/ aAB" + BAR, max_size=60))
def test_only_blanks_are_added(text: str) -> None:
    assert disarm_tokens(text).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize(
    "text",
    ["x[i] = a[0][1]", "click[b07x]", "a < b and c > d", "if a || b:", '{"a": [1, 2]}', "1 >> 2"],
)
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert disarm_tokens(text) == text


@pytest.mark.parametrize("sign", ["[", "[A", "[a", "<a", "]~", "|", ">>A", "<", ">"])
def test_a_megabyte_of_signs_is_disarmed_in_a_moment(sign: str) -> None:
    started = time.process_time()
    disarm(sign * (1_000_000 // len(sign)))
    disarm(sign + "A" * 1_000_000)
    assert time.process_time() - started < 5
