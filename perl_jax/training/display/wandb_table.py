"""What was asked and said, as a table of Weights & Biases with pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from perl_jax.training.display.rollout_log import Row

COLUMNS = (
    "step", "id", "source", "outcome", "pictures", "question", "truth", "response", "accuracy",
    "reward", "advantage",
)  # fmt: skip
_GROUPS = 4
_GAP = 4


def table_of(wandb: Any, step: int, rows: Sequence[Row], images: Path) -> Any:
    """A ``wandb.Table`` with a row for each response to the first groups of a step.

    Args:
        wandb: The library.
        step: The step.
        rows: See `perl_jax.experience.records`.
        images: The directory of pictures; those that it lacks are left out.
    """
    table = wandb.Table(columns=list(COLUMNS))
    for row in rows[:_GROUPS]:
        for k, order in enumerate(row["orders"]):
            picture = side_by_side([images / f"{row['images'][slot]}.jpg" for slot in order])
            shown = None if picture is None else wandb.Image(picture)
            for n, response in enumerate(row["responses"][k]):
                table.add_data(
                    step, row["id"], row["source"], row["outcome"], shown,
                    row["questions"][k], row["truths"][k], response, row["accuracy"][k][n],
                    row["reward"][k][n], row["advantages"][k][n],
                )  # fmt: skip
    return table


def side_by_side(files: Sequence[Path]) -> Image.Image | None:
    """The pictures of files that exist, in a row; None if there are none."""
    pictures: list[Image.Image] = []
    for file in files:
        if file.is_file():
            with Image.open(file) as opened:
                pictures.append(opened.convert("RGB"))
    if not pictures:
        return None
    width = sum(one.width for one in pictures) + _GAP * (len(pictures) - 1)
    row = Image.new("RGB", (width, max(one.height for one in pictures)), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + _GAP
    return row
