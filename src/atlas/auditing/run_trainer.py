"""Runs a trainer's own code on rows: a program of its own, for the trainer's environment.

    python run_trainer.py TRAINER ROWS.jsonl TOKENIZER-FOLDER SETTINGS.json OUT.jsonl

The environment need not hold atlas, so this file imports nothing of it. The first line of OUT names
the package and its version. Each further line is `{"row": …, "ids": […], "labels": […]}`, or
`{"row": …, "refused": reason}`. Rows that the trainer leaves out have no line.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

# (number of the row, tokens, labels), or (number, reason) of a row that is refused.
Made = tuple[int, list[int], list[int]] | tuple[int, str]
IGNORED = -100
ROW = "__atlas_row"


def main() -> None:
    """Entry point."""
    name, rows, folder, settings_file, out = sys.argv[1:]
    package, read = TRAINERS[name]
    settings = json.loads(Path(settings_file).read_text(encoding="utf-8"))
    with Path(out).open("w", encoding="utf-8") as file:
        file.write(json.dumps({"package": package, "version": version(package)}) + "\n")
        for made in read(Path(rows), load_tokenizer(folder), settings):
            if len(made) == 2:
                line: dict[str, Any] = {"row": made[0], "refused": made[1][:500]}
            else:
                line = {"row": made[0], "ids": made[1], "labels": made[2]}
            file.write(json.dumps(line) + "\n")


def load_tokenizer(folder: str) -> Any:
    """The tokenizer that was saved for this run."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows with their numbers."""
    with file.open(encoding="utf-8") as rows:
        for number, line in enumerate(rows):
            row = json.loads(line)
            row.pop(ROW, None)
            yield number, row


def each(file: Path, make: Callable[[dict[str, Any]], tuple[Any, Any] | None]) -> Iterator[Made]:
    """The rows one by one; what is raised is the reason of a refusal."""
    for number, row in lines(file):
        try:
            made = make(row)
        except Exception as error:
            yield number, f"{type(error).__name__}: {error}"
            continue
        if made is not None:
            yield number, [int(one) for one in made[0]], [int(one) for one in made[1]]


def run_trl(file: Path, tokenizer: Any, settings: dict[str, Any]) -> Iterator[Made]:
    """SFTTrainer's own preparation of the data set."""
    import datasets
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    datasets.disable_progress_bars()
    size = dict.fromkeys(("hidden_size", "intermediate_size"), 8)
    size |= dict.fromkeys(("num_hidden_layers", "num_attention_heads", "num_key_value_heads"), 1)
    with tempfile.TemporaryDirectory() as folder:

        def prepare(path: Path) -> Iterator[Made]:
            model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size))
            config = SFTConfig(
                output_dir=folder, packing=False, report_to=[], use_cpu=True, **settings
            )
            data = datasets.load_dataset(
                "json", data_files=str(path), split="train", cache_dir=f"{folder}/cache"
            )
            trainer = SFTTrainer(model, config, train_dataset=data, processing_class=tokenizer)
            for row in trainer.train_dataset:
                yield row[ROW], row["input_ids"], row["labels"]

        try:
            yield from list(prepare(file))
            return
        except Exception as error:
            first = f"{type(error).__name__}: {error}"
        texts = file.read_text(encoding="utf-8").splitlines()
        if len(texts) == 1:
            yield 0, first
            return
        for number, text in enumerate(texts):
            one = Path(folder) / f"row-{number}.jsonl"
            one.write_text(text + "\n", encoding="utf-8")
            try:
                yield from list(prepare(one))
            except Exception as error:
                yield number, f"{type(error).__name__}: {error}"


def run_axolotl(file: Path, tokenizer: Any, settings: dict[str, Any]) -> Iterator[Made]:
    """The strategy `chat_template` of a data set with these settings."""
    from axolotl.prompt_strategies.chat_template import StrategyLoader
    from axolotl.utils.dict import DictDefault

    limit = settings.get("max_length")
    config = {
        "train_on_inputs": settings["train_on_inputs"],
        "sequence_len": limit or 1 << 20,
        "chat_template": "tokenizer_default",
        "eot_tokens": settings["eot_tokens"],
    }
    for number, row in lines(file):
        name = settings["field_messages"]
        plain = None if settings["map_reasoning"] else {"role": "role", "content": "content"}
        spelled = {"role": "from", "content": "value"} if settings["read_from_value"] else plain
        data = {
            "type": "chat_template",
            "field_messages": name,
            "message_property_mappings": spelled,
            "message_field_training": settings["message_field_training"],
            "roles_to_train": list(settings["roles_to_train"]),
            "train_on_eos": settings["train_on_eos"],
            "train_on_eot": settings["train_on_eot"],
        }
        try:
            strategy = StrategyLoader()(tokenizer, DictDefault(config), DictDefault(data))
            made = strategy.tokenize_prompt(row)
        except Exception as error:
            yield number, f"{type(error).__name__}: {error}"
            continue
        ids, labels = list(made["input_ids"]), list(made["labels"])
        if limit and len(ids) > limit:
            if settings["excess_length_strategy"] != "truncate":
                continue
            ids, labels = ids[:limit], labels[:limit]
        yield number, ids, labels


def run_ms_swift(file: Path, tokenizer: Any, settings: dict[str, Any]) -> Iterator[Made]:
    """The template `chatml` (with agent template hermes) in training mode."""
    from types import SimpleNamespace

    from swift.template import TEMPLATE_MAPPING, Template

    tokenizer.model_info = SimpleNamespace(
        config=SimpleNamespace(), task_type="causal_lm", max_model_len=1 << 20
    )
    tokenizer.model_meta = SimpleNamespace(is_multimodal=False)
    strategy = {"delete": "raise"}.get(
        settings["truncation_strategy"], settings["truncation_strategy"]
    )
    template = Template(
        tokenizer,
        TEMPLATE_MAPPING["chatml"],
        default_system=settings["default_system"] or None,
        max_length=settings["max_length"],
        truncation_strategy=strategy,
        loss_scale=settings["loss_scale"],
        agent_template="hermes",
    )
    template.set_mode("train")

    def make(row: dict[str, Any]) -> tuple[Any, Any]:
        made = template.encode(row)
        return made["input_ids"], made["labels"]

    for made in each(file, make):
        if len(made) == 2 and made[1].startswith("MaxLengthError"):
            continue
        yield made


def run_llamafactory(file: Path, tokenizer: Any, settings: dict[str, Any]) -> Iterator[Made]:
    """Converter and supervised processor with the template qwen, or qwen3."""
    from llamafactory.data.converter import OpenAIDatasetConverter, SharegptDatasetConverter
    from llamafactory.data.parser import DatasetAttr
    from llamafactory.data.processor.supervised import SupervisedDatasetProcessor
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments

    arguments = DataArguments(
        template=settings["template"],
        mask_history=settings["mask_history"],
        train_on_prompt=settings["train_on_prompt"],
        cutoff_len=settings["max_length"],
    )
    template = get_template_and_fix_tokenizer(tokenizer, arguments)
    template.default_system = settings.get("default_system", "")
    processor = SupervisedDatasetProcessor(
        template=template, tokenizer=tokenizer, processor=None, data_args=arguments
    )

    def make(row: dict[str, Any]) -> tuple[Any, Any] | None:
        is_sharegpt = "conversations" in row
        columns_of: dict[str, Any] = {}
        columns = DatasetAttr("file", "atlas", formatting="sharegpt")
        names = {"messages": "conversations" if is_sharegpt else "messages"}
        if is_sharegpt:
            names |= {"system": "system", "tools": "tools"}
        else:
            columns_of["tags"] = {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
                "observation_tag": "tool",
                "function_tag": "function_call",
                "system_tag": "system",
            }
            names |= {"tools": "tools"}
            row = {"tools": "", **row}
            if not isinstance(row["tools"], str):
                row["tools"] = json.dumps(row["tools"], ensure_ascii=False)
        formatting = "sharegpt" if is_sharegpt else "openai"
        columns.join({"formatting": formatting, "columns": names, **columns_of})
        kind = SharegptDatasetConverter if is_sharegpt else OpenAIDatasetConverter
        example = kind(dataset_attr=columns, data_args=arguments)(
            {"system": "", "tools": "", **row}
        )
        made = processor.preprocess_dataset({key: [value] for key, value in example.items()})
        if not made.get("labels"):
            raise ValueError("skipped: the turns do not alternate")
        return made["input_ids"][0], made["labels"][0]

    return each(file, make)


def run_torchtune(file: Path, tokenizer: Any, settings: dict[str, Any]) -> Iterator[Made]:
    """SFTTransform over Qwen's tokenizer class, whose encoder is this tokenizer's."""
    from torchtune.data import Message
    from torchtune.datasets._sft import SFTTransform
    from torchtune.models.qwen2_5._tokenizer import Qwen2_5Tokenizer

    reads = settings["read_masked"]

    class Messages:
        def __call__(self, sample: Any) -> Any:
            made = []
            for message in sample["messages"]:
                one = dict(message)
                if not reads:
                    one["masked"] = one["role"] != "assistant" and not settings["train_on_input"]
                made.append(Message.from_dict(one))
            return {"messages": made}

    # Its own reader wants the files of a Qwen vocabulary.
    model: Any = Qwen2_5Tokenizer.__new__(Qwen2_5Tokenizer)
    start, end = (tokenizer.convert_tokens_to_ids(f"<|im_{name}|>") for name in ("start", "end"))
    model.__dict__.update(
        prompt_template=None,
        max_seq_len=settings["max_length"],
        im_start_id=start,
        im_end_id=end,
        eos_id=end,
    )
    model.encode = lambda text, **_: tokenizer(text, add_special_tokens=False)["input_ids"]

    class ModelTransform:
        def __call__(self, sample: Any) -> Any:
            tokens, mask = model.tokenize_messages(sample["messages"])
            return {"tokens": tokens, "mask": mask}

    prepare = SFTTransform(message_transform=Messages(), model_transform=ModelTransform())

    def make(row: dict[str, Any]) -> tuple[Any, Any]:
        made = prepare(row)
        return made["tokens"], made["labels"]

    return each(file, make)


def run_tinker(file: Path, tokenizer: Any, settings: dict[str, Any]) -> Iterator[Made]:
    """The ChatML renderer of tinker-cookbook with TrainOnWhat.CUSTOMIZED."""
    from tinker_cookbook.renderers import TrainOnWhat, get_renderer

    renderer = get_renderer("qwen3_instruct", tokenizer)

    def make(row: dict[str, Any]) -> tuple[Any, Any]:
        model_input, weights = renderer.build_supervised_example(
            row["messages"], train_on_what=TrainOnWhat.CUSTOMIZED
        )
        ids = model_input.to_ints()
        pairs = zip(ids, weights.tolist(), strict=True)
        return ids, [token if weight else IGNORED for token, weight in pairs]

    return each(file, make)


def run_renderers(file: Path, tokenizer: Any, settings: dict[str, Any]) -> Iterator[Made]:
    """build_training_sample with the Qwen renderer."""
    from renderers.base import build_training_sample
    from renderers.qwen3 import Qwen3Renderer

    renderer = Qwen3Renderer(tokenizer)

    def make(row: dict[str, Any]) -> tuple[Any, Any]:
        sample = build_training_sample(
            renderer,
            row["messages"],
            tools=row.get("tools"),
            message_loss_mask=row["message_loss_mask"],
        )
        pairs = zip(sample.token_ids, sample.loss_mask, strict=True)
        return sample.token_ids, [token if flag else IGNORED for token, flag in pairs]

    return each(file, make)


TRAINERS: dict[str, tuple[str, Callable[[Path, Any, dict[str, Any]], Iterator[Made]]]] = {
    "axolotl": ("axolotl", run_axolotl),
    "llamafactory": ("llamafactory", run_llamafactory),
    "ms-swift": ("ms-swift", run_ms_swift),
    "renderers": ("renderers", run_renderers),
    "tinker": ("tinker-cookbook", run_tinker),
    "torchtune": ("torchtune", run_torchtune),
    "trl": ("trl", run_trl),
}

if __name__ == "__main__":
    main()
