"""The settings of `atlas train`, without torch."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from atlas.config import BY_CONTENT, SPEED_ONLY, Config
from atlas.kinds import Choice
from atlas.models.local.precision import Precision
from atlas.rendering.chat_templates.stock import CHAT_TEMPLATE_HELP
from atlas.rendering.tool_schemas import TOOLS_HELP
from atlas.rendering.truncation import Truncation
from atlas.training.objectives.base import OBJECTIVE

LossNormalizer = Literal["tokens", "steps", "trajectories"]
StepWeights = Literal["none", "score", "annotation"]
ContextGradient = Literal["full", "stop"]
# The lowest weight that a step may ever have.
LOWEST_WEIGHT = -1.0
# The learning rate at which the polynomial schedule of transformers ends.
POLYNOMIAL_END = 1e-7
# The most tokens that `engine.micro_batch_tokens=auto` stands for.
LONGEST_ROW = 8192
Scheduler = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
]


class LoraConfig(Config):
    """Low-rank adapters instead of full fine-tuning (needs the extra `lora`)."""

    rank: int = Field(default=16, ge=1, description="rank of each adapter")
    alpha: float = Field(
        default=32.0,
        gt=0,
        description="scale of the adapters: their output is multiplied by alpha / rank",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout before each adapter")
    target_modules: str | tuple[str, ...] = Field(
        default="all-linear", description="which layers get an adapter, as PEFT names them"
    )
    target_parameters: tuple[str, ...] = Field(
        default=(),
        description="which weights that are not layers get an adapter, as PEFT names them: the "
        "stacked experts of a mixture, such as mlp.experts.gate_up_proj (needs dropout=0)",
    )
    merge: bool = Field(
        default=False,
        description="save the sum of base model and adapters: the checkpoint is then a whole model",
    )
    quantize: Literal["4bit"] | None = Field(
        default=None,
        description="4bit: keep the frozen base model in four bits (QLoRA, arXiv "
        "2305.14314; needs the extra `qlora`)",
    )

    def needed_extras(self) -> tuple[str, ...]:
        return ("train", "lora") if self.quantize is None else ("train", "lora", "qlora")


class EngineConfig(Config):
    """Optimizations of the loss. All are exact: loss and gradients differ by rounding only."""

    micro_batch_tokens: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto",
        description="maximum tokens of a forward pass; changes memory and speed, and the loss by "
        "rounding only. auto: as long as pays and as memory allows, chosen when a run is started",
    )
    chunked_loss: bool = Field(
        default=True,
        description="compute the loss in chunks, so that the logits of all supervised "
        "tokens are never in memory together",
    )
    packing: bool = Field(
        default=True, description="put the sequences of a forward pass in one row without padding"
    )
    shared_prompts: bool = Field(
        default=True,
        description="compute the common beginning of several sequences once (needs packing)",
    )
    last_layer: bool = Field(
        default=True,
        description="compute the last layer only at positions that predict a supervised "
        "token (needs packing)",
    )
    recompute: bool = Field(
        default=True,
        description="keep only matrix products and attention for the backward pass, and compute "
        "norms, activations and the like again",
    )

    @property
    def row_tokens(self) -> int:
        """`micro_batch_tokens`; for `auto` the most that it may stand for."""
        given = self.micro_batch_tokens
        return LONGEST_ROW if given == "auto" else given


class TrainConfig(Config):
    """How an agent is tuned.

    The defaults are AgentGym's behavior-cloning recipe, which the paper builds on.
    """

    model: Annotated[str, BY_CONTENT] = Field(
        description="a hub id, a model folder, or a run folder of train"
    )
    chat_template: Annotated[str | None, BY_CONTENT] = Field(
        default=None, description=f"{CHAT_TEMPLATE_HELP}; saved with the checkpoint"
    )
    tools: Annotated[str | None, BY_CONTENT] = Field(default=None, description=TOOLS_HELP)
    allow_empty_steps: bool = Field(
        default=False,
        description="also train on selected steps of which the chat template writes only the "
        "end of turn, instead of stopping",
    )
    epochs: float = Field(default=1.0, gt=0, description="passes over the trajectories")
    learning_rate: float = Field(default=1e-5, gt=0, description="peak learning rate of AdamW")
    lr_scheduler: Scheduler = Field(
        default="linear", description="a schedule of Hugging Face's Trainer"
    )
    warmup_ratio: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="share of the optimizer steps in which the learning rate rises to its peak",
    )
    batch_size: int = Field(
        default=32,
        ge=1,
        description="trajectories per optimizer step, over all processes",
    )
    micro_batch_size: int | None = Field(
        default=None,
        ge=1,
        description="maximum number of examples in a forward pass; if none, only "
        "engine.micro_batch_tokens limits it",
    )
    weight_decay: float = Field(default=0.0, ge=0, description="weight decay of AdamW")
    max_grad_norm: float = Field(
        default=1.0, gt=0, description="gradients are clipped to this norm"
    )
    max_tokens: int = Field(
        default=4096,
        ge=8,
        description="longer sequences are truncated; selected steps that do not fit are "
        "counted as dropped",
    )
    truncation: Truncation = Field(
        default="drop_tail",
        description="drop_tail: cut off the end, so that each remaining step keeps its "
        "whole context; cut_observations: cut observations, so that more "
        "selected steps fit",
    )
    date: datetime.date | None = Field(
        default=None,
        description="the date that a chat template writes as today's (YYYY-MM-DD); none: the day "
        "on which the run was started",
    )
    precision: Precision = Field(
        default="auto",
        description="fp32, bf16, or auto (bf16 where the GPU supports it, or where a timed layer "
        "is at least 1.5 times as fast on this CPU; else fp32). The weights stay float32",
    )
    gradient_checkpointing: bool = Field(default=False, description="use less memory and more time")
    context_gradient: ContextGradient = Field(
        default="full",
        description="through which tokens the gradient flows: full (all), or stop (only "
        "supervised tokens; cheaper, not exact)",
    )
    loss_normalizer: LossNormalizer = Field(
        default="tokens",
        description="what has equal weight in an optimizer step: each supervised token, "
        "each supervised step, or each trajectory",
    )
    step_weights: StepWeights = Field(
        default="none",
        description="weight of each selected step in the loss: none (equal weights), score "
        "(the selector's score, such as a confidence) or annotation (the score "
        "in the source data)",
    )
    lowest_weight: float = Field(
        default=0.0,
        ge=LOWEST_WEIGHT,
        le=0,
        description="the lowest weight that a step may have. Below 0, steps with a negative weight "
        "are allowed, and training makes them less likely. This can damage the model",
    )
    negative_floor: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="a token with a negative weight has no loss while its probability under the "
        "model is below this. It bounds what negative weights can do",
    )
    objective: Annotated[Choice, OBJECTIVE] = Field(
        default=Choice("none"),
        description="what each supervised token counts, given what the model predicts there: a "
        "row of the table of objectives, or package.module:Class",
    )
    kl_weight: float = Field(
        default=0.0,
        ge=0,
        description="weight of KL(base model ‖ tuned model) on the responses of steps that "
        "are not selected; 0 turns it off",
    )
    lora: LoraConfig | None = Field(
        default=None, description="train low-rank adapters instead of all weights"
    )
    engine: Annotated[EngineConfig, SPEED_ONLY] = Field(
        default_factory=EngineConfig, description="which optimizations are used to compute the loss"
    )
    seed: int = Field(
        default=0,
        description="seed for the order of the trajectories, and for dropout if the model has any",
    )
    save_every: Annotated[int, SPEED_ONLY] = Field(
        default=50,
        ge=1,
        description="optimizer steps between saved states; an interrupted run resumes from "
        "the last one",
    )
    log_every: int = Field(
        default=1, ge=1, description="optimizer steps between rows of metrics.jsonl"
    )
    held_out: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the trajectories that are not trained on; the loss on their selected "
        "steps is logged. They are chosen by their ids, so they are the same in every arm",
    )
    held_out_every: int = Field(
        default=50,
        ge=1,
        description="optimizer steps between two computations of the held-out loss; it is also "
        "computed before the first and after the last step",
    )
    report_to: Annotated[tuple[str, ...], SPEED_ONLY] = Field(
        default=(),
        description="experiment trackers of Hugging Face's Trainer, such as trackio or wandb",
    )
    push_to_hub: Annotated[str | None, SPEED_ONLY] = Field(
        default=None,
        description="a hub repository, owner/name, to which the checkpoint is uploaded when"
        " the run is finished",
    )
    hub_private: Annotated[bool, SPEED_ONLY] = Field(
        default=True,
        description="whether the upload creates a private repository, if the repository "
        "does not exist yet",
    )

    @field_validator("lr_scheduler")
    @classmethod
    def _goes_down(cls, lr_scheduler: Scheduler, info: ValidationInfo) -> Scheduler:
        rate = info.data.get("learning_rate", 1.0)
        if lr_scheduler == "polynomial" and rate <= POLYNOMIAL_END:
            raise ValueError(
                f"learning_rate={rate:g} is not above {POLYNOMIAL_END:g}, where this schedule "
                "ends. Raise it, or use another"
            )
        return lr_scheduler

    @field_validator("lowest_weight")
    @classmethod
    def _is_of_a_score(cls, lowest_weight: float, info: ValidationInfo) -> float:
        if lowest_weight < 0 and info.data.get("step_weights") == "none":
            raise ValueError(
                f"lowest_weight={lowest_weight:g} needs step_weights=score or annotation, because "
                "with none every step has the weight 1"
            )
        return lowest_weight

    @field_validator("engine")
    @classmethod
    def _packs_where_the_gradient_stops(
        cls, engine: EngineConfig, info: ValidationInfo
    ) -> EngineConfig:
        given = info.data.get("context_gradient", "full")
        if not engine.packing and given != "full":
            raise ValueError(
                f"context_gradient={given} needs engine.packing. Turn it on, or set "
                "context_gradient=full"
            )
        return engine

    @property
    def has_factors(self) -> bool:
        """Whether a token's loss has a factor: an objective, or the floor of negative weights."""
        return self.objective.name != "none" or self.lowest_weight < 0

    @property
    def gradient_window(self) -> int | None:
        """How many tokens before each supervised token carry gradient; None: the whole context."""
        return None if self.context_gradient == "full" else 0

    def needed_extras(self) -> tuple[str, ...]:
        return ("train",)
