"""The result of a build, as a table, as JSON, and as a data set card."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from perl_jax.data.sources.source import BadRow
from perl_jax.datasets import DataSet
from perl_jax.settings import plain
from perl_jax.types import Example

_COLUMNS = ("split", "rows", "kept", "dropped", "images", "pairs left out")


@dataclass
class Tally:
    """The counts of one split.

    Attributes:
        rows: The number of rows read.
        kept: The number of rows that became examples.
        images: The number of images of kept rows.
        left_out_pairs: The sum of ``metadata["left_out_pairs"]``.
        dropped: The number of dropped rows by reason.
        samples: The first dropped row of each reason, with the message.
    """

    rows: int = 0
    kept: int = 0
    images: int = 0
    left_out_pairs: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    samples: dict[str, str] = field(default_factory=dict)

    def add(self, row: Example | BadRow) -> None:
        """Counts a row."""
        self.rows += 1
        if isinstance(row, BadRow):
            self.dropped[row.reason] += 1
            self.samples.setdefault(row.reason, f"{row.row}: {row.message}")
        else:
            self.kept += 1
            self.images += len(row.images)
            self.left_out_pairs += row.metadata.get("left_out_pairs", 0)

    def reasons(self) -> str:
        """The reasons for dropped rows as lines of text, the most frequent first."""
        return "\n".join(
            f"  {reason:<24}{count:>8}  {self.samples[reason][:200]}"
            for reason, count in sorted(self.dropped.items(), key=lambda item: (-item[1], item[0]))
        )

    def cells(self, split: str) -> tuple[Any, ...]:
        """Its table row."""
        dropped = self.dropped.total()
        return split, self.rows, self.kept, dropped, self.images, self.left_out_pairs


@dataclass(frozen=True)
class Built:
    """A finished build.

    Attributes:
        directory: The TFDS directory of the data set.
        limit: The most rows that were read of each split; None: all.
        files: Each published file's name, size in bytes and SHA-256 digest.
        shards: The same for each written file.
    """

    directory: str
    limit: int | None
    tallies: Mapping[str, Tally]
    files: Sequence[tuple[str, int, str]]
    shards: Sequence[tuple[str, int, str]]

    def table(self) -> str:
        """The counts and the reasons for dropped rows, as text."""
        lines = ["".join(f"{name:>15}" for name in _COLUMNS)]
        for split, tally in self.tallies.items():
            lines.append("".join(f"{cell:>15}" for cell in tally.cells(split)))
        for split, tally in self.tallies.items():
            if tally.dropped:
                lines += ["", f"dropped of {split}, because", tally.reasons()]
        return "\n".join(lines)

    def plain(self, data_set: DataSet) -> dict[str, Any]:
        """The facts as JSON values, without the directory."""
        return {
            "name": data_set.name,
            "source": data_set.source,
            "limit": self.limit,
            "splits": plain(self.tallies),
            "files": plain(self.files),
            "shards": plain(self.shards),
        }

    @classmethod
    def read(cls, directory: str, facts: Mapping[str, Any]) -> "Built":
        """Reads the result of `plain`."""
        tallies = {split: Tally(**values) for split, values in facts["splits"].items()}
        for tally in tallies.values():
            tally.dropped = Counter(tally.dropped)
        files, shards = ([tuple(file) for file in facts[name]] for name in ("files", "shards"))
        return cls(directory, facts["limit"], tallies, files, shards)

    def card(self, data_set: DataSet) -> str:
        """The data set card as Markdown; the same input gives the same text."""
        limited = [] if self.limit is None else [f"Only the first {self.limit} rows of each split."]
        dropped = [
            (split, reason, count, tally.samples[reason][:200])
            for split, tally in self.tallies.items()
            for reason, count in sorted(tally.dropped.items())
        ]
        file = ("file", "bytes", "SHA-256")
        paragraphs = [
            f"# {data_set.title}",
            data_set.description,
            *limited,
            f"- Homepage: {data_set.homepage}\n- Licence: {data_set.licence}\n"
            f"- Source of the examples: `{data_set.source}`",
            "## Rows",
            _markdown(_COLUMNS, [tally.cells(split) for split, tally in self.tallies.items()]),
            "## Dropped rows",
            _markdown(("split", "reason", "rows", "such as"), dropped) if dropped else "None.",
            *(["Every one is named in `dropped.jsonl`."] if dropped else []),
            "## Published files",
            _markdown(file, self.files),
            "## Shards",
            _markdown(file, self.shards),
        ]
        return "\n\n".join(paragraphs) + "\n"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(value: Any) -> str:
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text.encode("utf-8", "backslashreplace").decode()
