"""From text and images to model inputs: decoding, preprocessing, chat template, tokens."""

from perl_jax.processing.conversation import Conversation, read_conversation
from perl_jax.processing.decode import encode_image, load_rgb
from perl_jax.processing.errors import ImageError, PromptError
from perl_jax.processing.images import (
    ImageSettings,
    extract_patches,
    picture_of,
    read_image_settings,
    smart_resize,
)
from perl_jax.processing.placeholders import Slot, find_slots, split_placeholders
from perl_jax.processing.positions import multimodal_positions
from perl_jax.processing.processor import Processor, load_processor

__all__ = [
    "Conversation",
    "ImageError",
    "ImageSettings",
    "Processor",
    "PromptError",
    "Slot",
    "encode_image",
    "extract_patches",
    "find_slots",
    "load_processor",
    "load_rgb",
    "multimodal_positions",
    "picture_of",
    "read_conversation",
    "read_image_settings",
    "smart_resize",
    "split_placeholders",
]
