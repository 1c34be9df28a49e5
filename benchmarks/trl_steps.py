"""TRL's GRPOTrainer on the workload of `benchmarks.step`, one step at a time."""

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness import Clock, Unavailable

PHASES = ("rollout", "score", "update", "optimizer")


@dataclass
class TrlTimes:
    """Seconds of every step, and of its phases; the operations of the first.

    Attributes:
        steps: Seconds of each step.
        phases: By name: ``rollout`` is generating, ``score`` the rest until the loss (processor,
            rewards, reference), ``update`` the loss and its gradients, ``optimizer`` all else.
        flops: The operations of the first step, as PyTorch counts them.
    """

    steps: list[float] = field(default_factory=list)
    phases: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PHASES})
    flops: int = 0

    def add(self, step: float, generate: float, prepare: float, training: float) -> None:
        """Adds a step from the times of what encloses what, of which the last is the largest."""
        self.steps.append(step)
        parts = (generate, prepare - generate, training - prepare, step - training)
        for name, seconds in zip(PHASES, parts, strict=True):
            self.phases[name].append(seconds)


def check_installed() -> None:
    """Raises Unavailable without PyTorch and TRL."""
    for name in ("torch", "trl"):
        if importlib.util.find_spec(name) is None:
            raise Unavailable(f"{name} is not installed; pip install torch 'trl==1.16.*'")


def train(
    directory: Path,
    examples: Sequence[tuple[str, list[Any]]],
    *,
    generations: int,
    new_tokens: int,
    beta: float,
    size: int,
    between: Callable[[], None],
    clock: Clock,
) -> TrlTimes:
    """Trains a step on each question with its pictures; ``between`` is called after each step."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    import torch
    from datasets import Dataset
    from transformers import AutoModelForImageTextToText
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(1)
    rows = [
        {"prompt": [{"role": "user", "content": text}], "images": pictures}
        for text, pictures in examples
    ]
    trainer = GRPOTrainer(
        # TRL loads the reference from the path that the model came from.
        model=AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32),
        reward_funcs=lambda completions, **_: [float(len(str(c)) % 7) for c in completions],
        args=GRPOConfig(
            output_dir=str(directory / "trl"),
            per_device_train_batch_size=generations,
            num_generations=generations,
            max_completion_length=new_tokens,
            max_steps=len(rows),
            learning_rate=1e-6,
            beta=beta,
            temperature=1.0,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
            generation_kwargs={"min_new_tokens": new_tokens},
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=_processor(directory, size),
    )
    times = TrlTimes()
    trainer.add_callback(_timer(trainer, times, between, clock))
    trainer.train()
    return times


def _processor(directory: Path, size: int) -> Any:
    """The published processor, without the one of videos, which needs torchvision."""
    from transformers import AutoTokenizer, Qwen2_5_VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    class OfImages(Qwen2_5_VLProcessor):
        def check_argument_for_proper_class(self, name: str, value: Any) -> Any:
            if name == "video_processor" and value is None:
                return None
            return super().check_argument_for_proper_class(name, value)

    images = Qwen2VLImageProcessorPil.from_pretrained(directory)
    images.size = {"shortest_edge": 56 * 56, "longest_edge": size**2}
    tokenizer = AutoTokenizer.from_pretrained(directory)
    return OfImages(
        image_processor=images,
        tokenizer=tokenizer,
        video_processor=None,
        chat_template=tokenizer.chat_template,
    )


def _timer(trainer: Any, times: TrlTimes, between: Callable[[], None], clock: Clock) -> Any:
    """The callback that times the trainer's steps; it times three of its methods as well."""
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import TrainerCallback

    spent: dict[str, float] = {}

    def time_method(name: str) -> None:
        method = getattr(trainer, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            start = clock()
            try:
                return method(*arguments, **named)
            finally:
                spent[name] = spent.get(name, 0.0) + clock() - start

        setattr(trainer, name, timed)

    enclosing = ("_generate_single_turn", "_generate_and_score_completions", "training_step")
    for name in enclosing:
        time_method(name)

    class Timer(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            # Counting takes time: it happens in the first step, which is dropped.
            self.counter = None if times.steps else FlopCounterMode(display=False)
            if self.counter:
                self.counter.__enter__()
            spent.clear()
            self.start = clock()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            step = clock() - self.start
            if self.counter:
                self.counter.__exit__(None, None, None)
                times.flops = self.counter.get_total_flops()
            times.add(step, *(spent[name] for name in enclosing))
            between()

    return Timer()
