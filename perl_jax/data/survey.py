"""Looks at some rows before a run starts: what they hold and how large they are.

No pixel is decoded, and the rows are the same on all hosts and after every resume.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perl_jax.data.pipeline.mixture import Mixture
from perl_jax.data.pipeline.preparer import Preparer, check_text
from perl_jax.data.pipeline.row_filter import RowFilter
from perl_jax.data.sources.row_files import RowFiles
from perl_jax.data.sources.source import BadRow, Source
from perl_jax.processing import ImageError, Processor, PromptError
from perl_jax.processing.decode import image_size
from perl_jax.processing.images import grid_of
from perl_jax.types import Example, ImagePatches, prompt_of

# Rows are read in runs of neighbours, as files are read in blocks of rows.
_IN_A_RUN = 8


@dataclass(frozen=True, eq=False)
class SurveyedRow:
    """A row that the filters let through.

    Attributes:
        number: Its number in the source.
        example: The row.
        prompts: Tokens of its prompt, under its own order and then under others.
        images: Patches of each distinct image.
    """

    number: int
    example: Example
    prompts: tuple[int, ...]
    images: tuple[int, ...]

    @property
    def patches(self) -> int:
        """Patches of all distinct images."""
        return sum(self.images)


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a run, opened.

    Attributes:
        prepare: Makes an example ready; has the processor.
        source: The rows to train on.
        surveyed: Some of them.
        held_out: The prepared examples to evaluate on; None: nothing is held out.
        surveyed_held_out: Some of them.
    """

    prepare: Preparer
    source: Source
    surveyed: Sequence[SurveyedRow]
    held_out: Sequence[Example] | None = None
    surveyed_held_out: Sequence[SurveyedRow] = ()


def survey(
    source: Source,
    prepare: Preparer,
    orders: Callable[[Example], Sequence[Example]],
    *,
    count: int,
    first: int | None = None,
) -> list[SurveyedRow]:
    """Measures about ``count`` rows, chosen alike on every host; bad rows are left out.

    Args:
        source: The rows. Parts of a `Mixture` give rows in proportion to their weights.
        prepare: What prepares the rows of the run: its processor and its longest prompt.
        orders: An example under the orders that it is shown in, its own first.
        count: The number of rows to look at.
        first: Only the first rows are looked at; None: all.
    """
    rows = []
    for index, filters in chosen_rows(source, count, first):
        with suppress(BadRow):
            row = _measured(index, read_example(source, index), prepare, orders)
            if filters is not None:
                filters.check_prompt(row.example, row.prompts[0])
            if row.prompts[0] <= prepare.max_prompt_tokens:
                rows.append(row)
    return rows


def read_example(source: Source, number: int) -> Example:
    """A row as the source has it; raises `BadRow` for whatever makes a run leave it out."""
    try:
        return source[number]
    except (BadRow, OSError, MemoryError):
        raise
    except Exception as error:
        raise BadRow(type(error).__name__, f"row {number}", str(error)) from error


def chosen_rows(
    source: Source, count: int, first: int | None = None
) -> Iterator[tuple[int, RowFilter | None]]:
    """The numbers of about ``count`` rows, and the filters of their parts."""
    if isinstance(source, Mixture) and first is None:
        total = sum(source.shares)
        for start, part, share in zip(source.starts, source.parts, source.shares, strict=False):
            of_part = max(_IN_A_RUN, count * share // total)
            for index in _spread(len(part.source), of_part):
                yield start + index, part.filters
        return
    for index in _spread(min(len(source), first or len(source)), count):
        filters = None
        if isinstance(source, Mixture):
            filters = source.parts[source.part_of(index)].filters
        yield index, filters


def row_name(source: Source, number: int) -> str:
    """The file and the place of a row, or its number where rows come from no files."""
    if isinstance(source, Mixture):
        part = source.part_of(number)
        return row_name(source.parts[part].source, number - source.starts[part])
    return source.row_name(number) if isinstance(source, RowFiles) else f"row {number}"


def first_of_every_source(source: Source) -> dict[str, int]:
    """The values of the source column, each with its first row, where the column is at hand."""
    if isinstance(source, Mixture):
        return {
            name: start + number
            for start, part in zip(source.starts, source.parts, strict=False)
            for name, number in first_of_every_source(part.source).items()
            if part.filters.sources is None or name in part.filters.sources
        }
    return dict(source.sources) if isinstance(source, RowFiles) else {}


def _spread(rows: int, count: int) -> list[int]:
    """About ``count`` of the numbers below ``rows``, in runs that are spread at random."""
    runs = range(0, rows, _IN_A_RUN)
    # Not evenly: rows may come in a fixed turn, such as one of every kind.
    chosen = random.Random(0).sample(runs, min(len(runs), -(-count // _IN_A_RUN)))
    return [n for start in sorted(chosen) for n in range(start, min(start + _IN_A_RUN, rows))]


def _measured(
    number: int,
    example: Example,
    prepare: Preparer,
    orders: Callable[[Example], Sequence[Example]],
) -> SurveyedRow:
    """Raises `BadRow` if the prompt cannot be read."""
    example = prepare.prompt.around(example)
    check_text(example)
    processor = prepare.processor
    try:
        images = _stand_ins(example.images, processor)
        shown = orders(replace(example, images=images))
        prompts = [processor.encode(prompt_of(one), one.images) for one in shown]
    except (ImageError, PromptError) as error:
        raise BadRow.of(example, "bad_row", str(error)) from error
    distinct = {image.key: image.num_patches for image in images}
    return SurveyedRow(
        number,
        example,
        tuple(len(prompt.tokens) for prompt in prompts),
        tuple(distinct.values()),
    )


def _stand_ins(images: Sequence[Any], processor: Processor) -> tuple[ImagePatches, ...]:
    """Images of the same sizes as these, without their pixels; equal ones are one object."""
    settings = processor.image_settings
    width = 3 * settings.temporal_patch_size * settings.patch_size**2
    known: dict[Any, ImagePatches] = {}
    found = []
    for image in images:
        key = image if isinstance(image, bytes | str) else id(image)
        if key not in known:
            rows, columns = grid_of(*image_size(image), settings)
            # Of a shade of its own, so that comparing it with others ends at its first pixel.
            blank = np.broadcast_to(np.float32(len(known)), (rows * columns, width))
            known[key] = ImagePatches(blank, (rows, columns))
        found.append(known[key])
    return tuple(found)
