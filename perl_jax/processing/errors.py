"""The errors for prompts that cannot be encoded, raised for nothing else."""


class PromptError(ValueError):
    """The text, the placeholders or an image of one prompt is unusable.

    A data pipeline may skip and count such a row. Faults of the model directory or of the settings
    are other errors, as they would recur with every row.
    """


class ImageError(PromptError):
    """One image is unusable; the message says which image and what is wrong with it."""
