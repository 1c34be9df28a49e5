"""ShowHowTo files for tests: strips of frames in plain colours, no two of them the same."""

import json

import numpy as np
from PIL import Image

from tests.processing.image_files import encode

VERBS = ("Chop", "Peel", "Fry", "Stir", "Boil", "Grate", "Slice", "Bake", "Mix", "Serve", "Wash")
THINGS = ("the onion", "a carrot", "some rice", "the dough", "two eggs", "the fish", "a leek")
HEIGHT, WIDTH = 16, 24


def step_text(number):
    """The text of a step: a different one for each number below 77."""
    return f"{VERBS[number % 11]} {THINGS[number % 7]}."


def frame_pixels(sequence, number):
    """A frame of one colour, which tells sequence and step apart even after JPEG."""
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:] = (30 * number + 15, 5 * (sequence % 50) + 3, 50 * (sequence // 50) + 20)
    return pixels


def jpeg(pixels):
    return encode(Image.fromarray(pixels), "JPEG", quality=95)


def sequence_id(sequence):
    return f"vid{sequence:03d}_{sequence % 3}"


def write_show_how_to(root, lengths, *, folders=2, steps=None):
    """Writes a split with one sequence of each length; ``steps`` overrides texts by sequence."""
    prompts = {}
    start = 0
    for sequence, length in enumerate(lengths):
        texts = [step_text(start + n) for n in range(length)]
        start += length
        id = sequence_id(sequence)
        prompts[id] = (steps or {}).get(sequence, texts)
        strip = np.concatenate([frame_pixels(sequence, n) for n in range(length)], axis=1)
        folder = root / f"imgseqs{sequence % folders}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{id}.jpg").write_bytes(jpeg(strip))
    (root / "prompts.json").write_text(json.dumps(prompts))
    (root / "keyframes.json").write_text("{}")
    return root
