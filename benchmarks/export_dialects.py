"""Read exported files with the trainers' own code and compare the supervised tokens with ours.

    python benchmarks/export_dialects.py [--out FILE.json] [DIALECT…]

Needs the trainers to be checked (one that is not installed is skipped with a message), and no
network: the tokenizer is a byte-level one made here, with Qwen's special tokens and ChatML.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from atlas.config import Config
from atlas.exporting.export_selection import ExportConfig, dialect_of, export_selection
from atlas.kinds import Choice
from atlas.records import CriticalStep, Message, Outcome, Selection, Source, Step, Task, Trajectory
from atlas.rendering.loss_mask import loss_mask
from atlas.rendering.renderer import Renderer
from atlas.store.readers import SELECTION_FILE, TRAJECTORY_FILES
from atlas.store.record_files import write_records
from atlas.store.run_folders import run_input, start_run

CHATML = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MARKERS = [
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
]  # Qwen's, no special tokens
Supervised = list[list[int]]  # per row of the file, the ids of its supervised tokens in order


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dialects", nargs="*", help=f"of {', '.join(TRAINERS)}; all if left out")
    parser.add_argument("--out", type=Path, help="write the results as JSON too")
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_tokenizer(Path(folder) / "tokenizer")
        renderer = Renderer(tokenizer, "chatml")
        for name in arguments.dialects or TRAINERS:
            results.append(check(name, renderer, Path(folder)))
            print(f"{name:13} {results[-1]['trainer']:28} {results[-1]['result']}", flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    sys.exit(any(result["result"].startswith("differs") for result in results))


def check(name: str, renderer: Renderer, folder: Path) -> dict[str, str]:
    package, read = TRAINERS[name]
    try:
        trainer = f"{package} {version(package)}"
    except PackageNotFoundError:
        return {"dialect": name, "trainer": package, "result": "not installed"}
    file, expected = write_file(name, renderer, folder / name)
    try:
        found = list(read(file, renderer.tokenizer))
    except ImportError as error:
        return {"dialect": name, "trainer": trainer, "result": f"cannot be imported: {error}"}
    if len(found) != len(expected):
        return {
            "dialect": name,
            "trainer": trainer,
            "result": f"differs: {len(found)} rows, expected {len(expected)}",
        }
    for row, (theirs, ours) in enumerate(zip(found, expected, strict=True)):
        if theirs != ours:
            shown = (renderer.tokenizer.decode(theirs)[:400], renderer.tokenizer.decode(ours)[:400])
            return {
                "dialect": name,
                "trainer": trainer,
                "result": f"differs in row {row}: {shown[0]!r}, expected {shown[1]!r}",
            }
    count = sum(map(len, expected))
    return {
        "dialect": name,
        "trainer": trainer,
        "result": f"same {count} supervised tokens in {len(expected)} rows",
    }


def write_file(name: str, renderer: Renderer, folder: Path) -> tuple[Path, Supervised]:
    """An exported file and what should be supervised in each of its rows."""
    trajectories = [make_trajectory(5, acknowledged=False), make_trajectory(4, acknowledged=True)]
    selections = [select(trajectories[0], (1, 3)), select(trajectories[1], (0, 3))]
    runs = folder / "t", folder / "s"
    with start_run(runs[0], "import", Config()) as run:
        write_records(runs[0] / TRAJECTORY_FILES["import"], trajectories)
        run.finish({})
    with start_run(
        runs[1], "select", Config(), {"trajectories": run_input(runs[0], runs[1])}
    ) as run:
        write_records(runs[1] / SELECTION_FILE, selections)
        run.finish({})
    config = ExportConfig(dialect=Choice(name), tokenizer="chatml")
    dialect = dialect_of(config, renderer)
    file = folder / f"file{dialect.suffixes[0]}"
    export_selection(config, *runs, file, renderer)
    expected = []
    for trajectory, selection in zip(trajectories, selections, strict=True):
        (example,) = renderer.tokenize_trajectory(trajectory)
        groups = (
            [[step] for step in sorted(selection.indices)]
            if dialect.one_row_per_step
            else [sorted(selection.indices)]
        )
        expected += [example.token_ids[loss_mask(example, group)].tolist() for group in groups]
    return file, expected


def make_trajectory(num_steps: int, *, acknowledged: bool) -> Trajectory:
    name = f"{'acknowledged' if acknowledged else 'plain'}-{num_steps}"
    system, rules, fine = (
        ("system", "You are in a room."),
        ("user", "The rules."),
        ("assistant", "OK."),
    )
    prompt = (system, rules, fine) if acknowledged else (system,)
    return Trajectory(
        id=name,
        task=Task(id=name, environment="test"),
        prompt=tuple(
            Message.model_validate({"role": role, "content": content}) for role, content in prompt
        ),
        steps=tuple(
            Step(
                observation=(Message(role="user", content=f"You see door {index}."),),
                response=Message(
                    role="assistant",
                    content=f"Thought:\nIt is open, {index}.\n\nAction:\ngo to door {index}",
                ),
            )
            for index in range(num_steps)
        ),
        outcome=Outcome(status="success"),
        source=Source(name="benchmark"),
    )


def select(trajectory: Trajectory, indices: tuple[int, ...]) -> Selection:
    return Selection(
        trajectory_id=trajectory.id,
        selector="benchmark",
        num_steps=len(trajectory.steps),
        budget=len(indices),
        critical_steps=tuple(CriticalStep(index=index) for index in indices),
    )


def make_tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    words = ["Thought:\nIt is open, 1.\n\nAction:\ngo to door 1", "user assistant system"] * 20
    raw.train_from_iterator(
        words,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    made.add_tokens(MARKERS)
    made.chat_template = CHATML
    made.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as rows:
        yield from map(json.loads, rows)


def labeled(labels: Any) -> list[int]:
    return [int(label) for label in labels if int(label) != -100]


def read_trl(file: Path, tokenizer: Any) -> Iterator[list[int]]:
    """SFTTrainer's own preparation of the data set, and its collator."""
    import datasets
    from transformers import LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    size = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
    }
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size))
    settings = SFTConfig(
        output_dir=str(file.parent / "trl"),
        max_length=None,
        packing=False,
        report_to=[],
        use_cpu=True,
    )
    data = datasets.load_dataset(
        "json", data_files=str(file), split="train", cache_dir=str(file.parent / "cache")
    )
    trainer = SFTTrainer(model, settings, train_dataset=data, processing_class=tokenizer)
    for row in trainer.train_dataset:
        batch = trainer.data_collator([row])
        yield labeled(batch["labels"][0].tolist())


def read_axolotl(file: Path, tokenizer: Any) -> Iterator[list[int]]:
    """The prompt strategy that the printed stanza makes."""
    from axolotl.prompt_strategies.chat_template import StrategyLoader
    from axolotl.utils.dict import DictDefault

    settings = DictDefault(
        {"train_on_inputs": False, "sequence_len": 4096, "chat_template": "tokenizer_default"}
    )
    data = {
        "type": "chat_template",
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
        "message_field_training": "train",
        "roles_to_train": [],
        "train_on_eos": "turn",
    }
    strategy = StrategyLoader()(tokenizer, settings, DictDefault(data))
    for row in lines(file):
        yield labeled(strategy.tokenize_prompt(row)["labels"])


def read_ms_swift(file: Path, tokenizer: Any) -> Iterator[list[int]]:
    """The template `chatml` in training mode with the default loss scale, on preprocessed rows."""
    from types import SimpleNamespace

    import datasets
    from swift.dataset.preprocessor import AutoPreprocessor
    from swift.template import TEMPLATE_MAPPING, Template

    tokenizer.model_info = SimpleNamespace(
        config=SimpleNamespace(), task_type="causal_lm", max_model_len=4096
    )
    tokenizer.model_meta = SimpleNamespace(is_multimodal=False)
    template = Template(tokenizer, TEMPLATE_MAPPING["chatml"], max_length=4096)
    template.set_mode("train")
    data = datasets.load_dataset(
        "json", data_files=str(file), split="train", cache_dir=str(file.parent / "cache")
    )
    for row in AutoPreprocessor()(data):
        yield without_newlines(tokenizer, labeled(template.encode(row)["labels"]))


def without_newlines(tokenizer: Any, ids: list[int]) -> list[int]:
    """Without the newline after each end of turn, which some trainers train too (see notes)."""
    end, newline = tokenizer("<|im_end|>\n", add_special_tokens=False)["input_ids"]
    return [
        token
        for previous, token in zip([-1, *ids], ids, strict=False)
        if (previous, token) != (end, newline)
    ]


def read_torchtune(file: Path, tokenizer: Any) -> Iterator[list[int]]:
    """SFTTransform's labels on messages of the printed transform, with ChatML tokens as Qwen's."""
    from torchtune.data import Message as TuneMessage
    from torchtune.datasets._sft import SFTTransform

    class Messages:
        def __call__(self, sample: Any) -> Any:
            return {"messages": [TuneMessage.from_dict(message) for message in sample["messages"]]}

    class ChatMl:
        def __call__(self, sample: Any) -> Any:
            tokens: list[int] = []
            mask: list[bool] = []
            for message in sample["messages"]:
                for text, masked in (
                    (f"<|im_start|>{message.role}\n", True),
                    (f"{message.text_content}<|im_end|>", message.masked),
                    ("\n", True),
                ):
                    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
                    tokens += ids
                    mask += [masked] * len(ids)
            return {"tokens": tokens, "mask": mask}

    prepare = SFTTransform(message_transform=Messages(), model_transform=ChatMl())
    for row in lines(file):
        yield labeled(prepare(row)["labels"])


def read_tinker(file: Path, tokenizer: Any) -> Iterator[list[int]]:
    """The ChatML renderer of tinker-cookbook, on rows as its file builder's table returns them."""
    import datasets
    from tinker_cookbook.renderers import TrainOnWhat, get_renderer

    renderer = get_renderer("qwen3_instruct", tokenizer)
    for row in datasets.Dataset.from_list(list(lines(file))).to_list():
        model_input, weights = renderer.build_supervised_example(
            row["messages"], train_on_what=TrainOnWhat.CUSTOMIZED
        )
        yield [
            token
            for token, weight in zip(model_input.to_ints(), weights.tolist(), strict=True)
            if weight
        ]


def read_renderers(file: Path, tokenizer: Any) -> Iterator[list[int]]:
    """build_training_sample with the Qwen renderer."""
    from renderers.base import build_training_sample
    from renderers.qwen3 import Qwen3Renderer

    renderer = Qwen3Renderer(tokenizer)
    for row in lines(file):
        sample = build_training_sample(
            renderer,
            row["messages"],
            tools=row.get("tools"),
            message_loss_mask=row["message_loss_mask"],
        )
        block = tokenizer("<think>\n\n</think>\n\n", add_special_tokens=False)[
            "input_ids"
        ]  # Qwen3's template opens the last turn with it
        found = [
            token
            for token, supervised in zip(sample.token_ids, sample.loss_mask, strict=True)
            if supervised
        ]
        starts = [
            place for place in range(len(found)) if found[place : place + len(block)] == block
        ]
        yield found if not starts else found[: starts[0]] + found[starts[0] + len(block) :]


def read_llamafactory(file: Path, tokenizer: Any) -> Iterator[list[int]]:
    """ShareGPT converter and supervised processor with mask_history, template qwen."""
    from llamafactory.data.converter import SharegptDatasetConverter
    from llamafactory.data.parser import DatasetAttr
    from llamafactory.data.processor.supervised import SupervisedDatasetProcessor
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments

    settings = DataArguments(template="qwen", mask_history=True, cutoff_len=4096)
    columns = DatasetAttr("file", "atlas", formatting="sharegpt")
    columns.join(
        {
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "system": "system", "tools": "tools"},
        }
    )
    template = get_template_and_fix_tokenizer(tokenizer, settings)
    convert = SharegptDatasetConverter(dataset_attr=columns, data_args=settings)
    processor = SupervisedDatasetProcessor(
        template=template, tokenizer=tokenizer, processor=None, data_args=settings
    )
    for row in lines(file):
        example = convert(row)
        made = processor.preprocess_dataset({key: [value] for key, value in example.items()})
        yield without_newlines(tokenizer, labeled(made["labels"][0]))


def read_verl(file: Path, tokenizer: Any) -> Iterator[list[int]]:
    """The data set class of the printed stanza, over verl's own multi-turn one."""
    from atlas.exporting.explain import explain_stanza

    scope: dict[str, Any] = {}
    code = explain_stanza("verl", file).split("# ---")[1]
    exec(code, scope)
    data = scope["MaskedSFTDataset"](
        [str(file)], tokenizer, {"max_length": 4096, "pad_mode": "no_padding"}
    )
    for index in range(len(data)):
        item = data[index]
        found = [
            token
            for token, flag in zip(
                item["input_ids"].tolist(), item["loss_mask"].tolist(), strict=True
            )
            if flag
        ]
        yield without_newlines(tokenizer, found)


TRAINERS: dict[str, tuple[str, Callable[[Path, Any], Iterator[list[int]]]]] = {
    "axolotl": ("axolotl", read_axolotl),
    "llamafactory": ("llamafactory", read_llamafactory),
    "ms-swift": ("ms-swift", read_ms_swift),
    "renderers": ("renderers", read_renderers),
    "tinker": ("tinker-cookbook", read_tinker),
    "torchtune": ("torchtune", read_torchtune),
    "trl": ("trl", read_trl),
    "verl": ("verl", read_verl),
}

if __name__ == "__main__":
    main()
