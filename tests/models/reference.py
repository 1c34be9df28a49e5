"""The outside implementation: transformers' Qwen2.5-VL with eager attention on the CPU."""

from pathlib import Path

import numpy as np

from perl_jax.types import Prompt


class Reference:
    """Runs transformers' model on our prompts: the same tokens and pixels, its own positions."""

    def __init__(self, directory: Path, dtype: str = "float32") -> None:
        import torch
        from transformers import AutoModelForImageTextToText

        torch.set_num_threads(1)  # the matrices are small, and other tests run beside
        self.torch = torch
        self.model, self.loading = AutoModelForImageTextToText.from_pretrained(
            directory,
            dtype=getattr(torch, dtype),
            attn_implementation="eager",
            output_loading_info=True,
        )
        self.model.eval()
        # Generation is compared token by token, past the point where it would end.
        self.model.generation_config.eos_token_id = None

    def inputs(self, prompts: list[Prompt], *, side: str = "right") -> dict:
        """The arguments of the model's forward for a padded batch."""
        torch = self.torch
        longest = max(len(prompt.tokens) for prompt in prompts)
        ids = np.zeros((len(prompts), longest), np.int64)
        mask = np.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            length = len(prompt.tokens)
            where = slice(0, length) if side == "right" else slice(longest - length, longest)
            ids[row, where] = prompt.tokens
            mask[row, where] = 1
        images = [image for prompt in prompts for image in prompt.images]
        arguments = {
            "input_ids": torch.tensor(ids),
            "attention_mask": torch.tensor(mask),
            "mm_token_type_ids": torch.tensor((ids == self.model.config.image_token_id) * mask),
        }
        if images:
            patches = np.concatenate([image.patches for image in images])
            arguments["pixel_values"] = torch.tensor(patches, dtype=self.model.dtype)
            arguments["image_grid_thw"] = torch.tensor([[1, *image.grid] for image in images])
        return arguments

    def logits(self, prompts: list[Prompt], *, side: str = "right") -> np.ndarray:
        """Float32 ``[B, T, V]``."""
        self.model.model.rope_deltas = None
        with self.torch.no_grad():
            out = self.model(**self.inputs(prompts, side=side))
        return out.logits.float().numpy()

    def features(self, prompt: Prompt) -> np.ndarray:
        """The features of the prompt's images, float32 ``[M, 1 + K, D]``."""
        arguments = self.inputs([prompt])
        with self.torch.no_grad():
            out = self.model.model.visual(
                arguments["pixel_values"], grid_thw=arguments["image_grid_thw"]
            )
        later = getattr(out, "deepstack_features", None) or ()
        return self.torch.stack([out.pooler_output, *later], dim=1).float().numpy()

    def positions(self, prompt: Prompt) -> tuple[np.ndarray, int]:
        """Multimodal positions ``[3, T]`` and the rope delta."""
        arguments = self.inputs([prompt])
        positions, delta = self.model.model.get_rope_index(
            arguments["input_ids"],
            image_grid_thw=arguments.get("image_grid_thw"),
            attention_mask=arguments["attention_mask"],
            mm_token_type_ids=arguments["mm_token_type_ids"],
        )
        return positions[:, 0].numpy(), int(delta[0, 0])

    def greedy(self, prompt: Prompt, count: int, *, suppress: list[int]) -> list[int]:
        """The next ``count`` most probable tokens, past any stop token."""
        self.model.model.rope_deltas = None
        with self.torch.no_grad():
            ids = self.model.generate(
                **self.inputs([prompt]),
                do_sample=False,
                repetition_penalty=1.0,
                temperature=None,
                max_new_tokens=count,
                suppress_tokens=suppress or None,
            )
        return ids[0, len(prompt.tokens) :].tolist()
