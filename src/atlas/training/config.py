"""The settings of `atlas train`, without torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from atlas.config import BY_CONTENT, SPEED_ONLY, Config
from atlas.models.local.load import Precision
from atlas.rendering.truncation import Truncation

LossNormalizer = Literal["tokens", "steps", "trajectories"]
StepWeights = Literal["none", "score", "annotation"]
# The learning rate at which the polynomial schedule of transformers ends.
POLYNOMIAL_END = 1e-7
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
    """Low-rank adapters in place of full fine-tuning (needs the extra `lora`)."""

    rank: int = Field(16, ge=1, description="rank of each adapter")
    alpha: float = Field(32.0, gt=0, description="scale: an adapter counts alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the adapter")
    target_modules: str | tuple[str, ...] = Field(
        "all-linear", description="which layers get one, as PEFT names them"
    )
    quantize: Literal["4bit"] | None = Field(
        None,
        description="4bit: the frozen base in four bits (QLoRA, arXiv 2305.14314; needs the extra "
        "`qlora`)",
    )


class EngineConfig(Config):
    """How computation is saved. Every part is exact: the same loss and gradients up to rounding."""

    micro_batch_tokens: int = Field(
        8192, ge=1, description="tokens of a forward pass: memory and speed, not the loss"
    )
    chunked_loss: bool = Field(
        True, description="the logits of all supervised tokens never exist at once"
    )
    packing: bool = Field(
        True, description="the sequences of a forward pass share one row without padding"
    )
    shared_prompts: bool = Field(
        True, description="a common beginning of sequences is computed once (needs packing)"
    )
    last_layer: bool = Field(
        True, description="the last layer computes at supervised positions only (needs packing)"
    )


class TrainConfig(Config):
    """How an agent is tuned.

    The defaults are AgentGym's behavior-cloning recipe, which the paper builds on.
    """

    model: Annotated[str, BY_CONTENT] = Field(
        description="a hub id, a model folder, or a run folder of train"
    )
    epochs: float = Field(1.0, gt=0, description="passes over the trajectories")
    learning_rate: float = Field(1e-5, gt=0, description="peak learning rate of AdamW")
    lr_scheduler: Scheduler = Field("linear", description="a schedule of Hugging Face's Trainer")
    warmup_ratio: float = Field(
        0.1, ge=0, lt=1, description="share of the optimizer steps that warm up"
    )
    batch_size: int = Field(
        32,
        ge=1,
        description="trajectories per optimizer step over all processes, each with all its "
        "examples",
    )
    micro_batch_size: int | None = Field(
        None,
        ge=1,
        description="the most examples of a forward pass; none: as engine.micro_batch_tokens "
        "allows",
    )
    weight_decay: float = Field(0.0, ge=0, description="weight decay of AdamW")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    max_tokens: int = Field(
        4096,
        ge=8,
        description="longer sequences are cut; selected steps that do not fit count as dropped",
    )
    truncation: Truncation = Field(
        "drop_tail",
        description="drop_tail: every step that fits keeps its whole context; cut_observations: "
        "observations are cut so that more selected steps fit",
    )
    precision: Precision = Field(
        "auto", description="fp32, bf16, or auto: bf16 on a GPU that has it"
    )
    gradient_checkpointing: bool = Field(False, description="less memory for more time")
    context_gradient: str = Field(
        "full",
        pattern=r"^(full|stop|window:[1-9][0-9]*)$",
        description="full; stop: no gradient through unsupervised tokens (cheaper, not exact); "
        "window:N: through N tokens before each supervised one",
    )
    loss_normalizer: LossNormalizer = Field(
        "tokens",
        description="what counts the same in an optimizer step: each supervised token, each "
        "supervised step, or each trajectory",
    )
    step_weights: StepWeights = Field(
        "none",
        description="factor of a step's loss: score (its selection's, such as a confidence) or "
        "annotation (its source's)",
    )
    kl_weight: float = Field(
        0.0,
        ge=0,
        description="weight of KL(base model ‖ tuned model) on the responses of steps that are not "
        "selected; 0: not computed",
    )
    lora: LoraConfig | None = Field(None, description="adapters instead of full fine-tuning")
    engine: Annotated[EngineConfig, SPEED_ONLY] = Field(
        default_factory=EngineConfig, description="how the loss is computed, see below"
    )
    seed: int = Field(0, description="order of the trajectories, and dropout if any")
    save_every: Annotated[int, SPEED_ONLY] = Field(
        50,
        ge=1,
        description="optimizer steps between the states that an interrupted run resumes from",
    )
    log_every: int = Field(1, ge=1, description="optimizer steps between rows of metrics.jsonl")
    report_to: Annotated[tuple[str, ...], SPEED_ONLY] = Field(
        (), description="trackers of Hugging Face's Trainer, such as trackio or wandb"
    )
    push_to_hub: Annotated[str | None, SPEED_ONLY] = Field(
        None,
        description="a hub repository, owner/name, that gets the checkpoint of the finished run",
    )
    hub_private: Annotated[bool, SPEED_ONLY] = Field(
        True, description="whether that repository is private if the push creates it"
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

    @field_validator("engine")
    @classmethod
    def _packs_where_a_window_needs_it(
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
    def gradient_window(self) -> int | None:
        """Tokens before each supervised one that carry gradient; None: all of the context."""
        kind, _, number = self.context_gradient.partition(":")
        return None if kind == "full" else int(number or 0)
