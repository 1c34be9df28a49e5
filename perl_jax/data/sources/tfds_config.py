"""The configuration of a built data set. It does not import TFDS, which takes seconds."""

from dataclasses import dataclass

from perl_jax.data.sources.source import Source, SourceKind


@dataclass(frozen=True)
class TfdsConfig(SourceKind):
    """A data set that `perl_jax.data.build` built.

    Attributes:
        directory: The directory of a version, such as ``data/mantis_nlvr2/1.0.0``.
        split: The split.
        prompt_suffix: Text put after every question and its options.
    """

    directory: str
    split: str = "train"
    prompt_suffix: str = ""

    def open(self) -> Source:
        """Opens the split."""
        from perl_jax.data.sources.tfds import TfdsSource

        return TfdsSource(self.directory, split=self.split, prompt_suffix=self.prompt_suffix)
