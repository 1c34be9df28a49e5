"""Renders the page about a run."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from perl_jax.inspection.pages import environment
from perl_jax.legible import legible
from perl_jax.page import numbers
from perl_jax.page.cards import Card, card
from perl_jax.page.charts import FRAME, learning_curves
from perl_jax.page.groups import Group, read_groups
from perl_jax.page.pictures import Picture, read_pictures, style_of
from perl_jax.page.run import RunRecord, read_run
from perl_jax.page.run_files import RunFiles
from perl_jax.page.sample import Logged, choose

_TEMPLATES = Path(__file__).parent / "templates"
_BYTES_OF_A_GROUP = 24_000
_LEAST_GROUPS = 200
# The longest side of a picture, and the most characters of a response: the first that fits.
_SIDES = (192, 160, 128, 96, 72)
_CHARACTERS = (8_000, 3_000, 1_500, 800, 400, 200)
# The part of a page that pictures may take, and how many of them tell what all will take.
_PART_OF_PICTURES = 0.4
_MEASURED = 20


@dataclass(frozen=True)
class Written:
    """A page, and how many of the groups of the run it shows."""

    text: str
    shown: int
    logged: int


def render(files: RunFiles, limit: int) -> Written:
    """The page about a run, with at most ``limit`` of its groups.

    It has at most 24 kB for each of them, or 4.8 MB: pictures become smaller, and responses lose
    their middle, until it has. If that is not enough, fewer groups are shown.

    Raises:
        ValueError: It is no work directory of a run, or a file is damaged.
    """
    run = read_run(files)
    logged = Logged.of(read_groups(files))
    chosen = choose(logged, limit)
    # The run may log more meanwhile.
    found = [group for group in read_groups(files) if (group.step, group.group) in chosen]
    groups = sorted(found, key=lambda group: (group.step, group.group))
    most_bytes = max(limit, _LEAST_GROUPS) * _BYTES_OF_A_GROUP
    while True:
        side, pictures = _pictures(files, groups, most_bytes)
        for characters in _CHARACTERS:
            text = _page(run, logged, groups, pictures, (side, characters))
            if len(text.encode()) <= most_bytes or not groups:
                return Written(text, len(groups), logged.total)
        chosen = choose(Logged.of(groups), len(groups) // 2)
        groups = [group for group in groups if (group.step, group.group) in chosen]


def _pictures(
    files: RunFiles, groups: Sequence[Group], most_bytes: int
) -> tuple[int, Mapping[str, Picture]]:
    """The longest side of pictures that a page of this size can hold, and the pictures."""
    digests = list(dict.fromkeys(digest for one in groups for digest in one.images))
    measured = digests[:: max(1, len(digests) // _MEASURED)]
    for side in _SIDES:
        sample = read_pictures(files, measured, side)
        size = sum(len(one.copy.uri) for one in sample.values()) * len(digests)
        if size <= _PART_OF_PICTURES * most_bytes * len(measured):
            break
    return side, read_pictures(files, digests, side)


def _page(
    run: RunRecord,
    logged: Logged,
    groups: Sequence[Group],
    pictures: Mapping[str, Picture],
    limits: tuple[int, int],
) -> str:
    templates = environment(_TEMPLATES)
    style = templates.get_template("report.css").render()
    drawn = style_of(pictures.values())
    script = templates.get_template("report.js").render()
    return templates.get_template("report.html").render(
        policy=_policy([style, drawn], script),
        # These are whole: no text of the data is in them.
        style=Markup(style),
        pictures=Markup(drawn),
        script=Markup(script),
        frame=FRAME,
        **_numbers(run),
        **_groups(logged, groups, pictures, limits),
    )


def _numbers(run: RunRecord) -> dict[str, Any]:
    """What the page shows of the run itself."""
    main, everything = numbers.settings(run.config)
    evaluations = numbers.evaluation_tables(run)
    return {
        "name": legible(run.name, 200),
        "run": run,
        "result": numbers.result(run),
        "best": numbers.best(run),
        "settings": main,
        "every_setting": everything,
        "metrics": numbers.metrics(run),
        "curves": learning_curves(run.metrics),
        "filtering": numbers.filter_charts(run.metrics),
        "refusals": numbers.refusals(run.metrics),
        "skipped": numbers.left_out(run.metrics, "skipped"),
        "filtered": numbers.left_out(run.metrics, "filtered"),
        "evaluations": evaluations,
        "detailed": numbers.spread(evaluations),
        "headings": tuple(zip(numbers.HEADINGS, numbers.MEANINGS, strict=True)),
    }


def _groups(
    logged: Logged,
    groups: Sequence[Group],
    pictures: Mapping[str, Picture],
    limits: tuple[int, int],
) -> dict[str, Any]:
    """What the page shows of the log of rollouts."""
    max_side, max_characters = limits
    cards = [card(group, pictures, max_characters) for group in groups]
    cut = any(len(text) > max_characters for one in groups for of in one.responses for text in of)
    return {
        "sources": _sources(logged),
        "outcomes": [legible(one.replace("_", " "), 200) for one in _outcomes(logged)],
        "cards": cards,
        "total": logged.total,
        "choices": _choices(cards),
        "limits": (max_side, max_characters if cut else None),
        "missing": sum(digest not in pictures for one in groups for digest in one.images),
    }


def _policy(styles: Sequence[str], script: str) -> str:
    """What the page lets a browser do: show its own pictures, and run its own script."""
    allowed = " ".join(map(_hash, styles))
    return (
        f"default-src 'none'; img-src data:; style-src {allowed}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _sources(logged: Logged) -> list[tuple[str, int, list[int], int, int]]:
    """Of each source: its groups, those of each outcome, those permuted, and those that flip."""
    outcomes = _outcomes(logged)
    return [
        (
            legible(source, 200),
            len(keys),
            [logged.outcomes[source, outcome] for outcome in outcomes],
            logged.permuted[source],
            logged.flips[source],
        )
        for source, keys in sorted(logged.keys.items())
    ]


def _outcomes(logged: Logged) -> list[str]:
    return sorted({outcome for _, outcome in logged.outcomes})


def _choices(cards: Sequence[Card]) -> dict[str, list[str]]:
    """What the filters offer."""
    return {
        "step": [str(step) for step in sorted({one.step for one in cards})],
        "source": sorted({one.source for one in cards}),
        "outcome": sorted({one.outcome for one in cards}),
    }
