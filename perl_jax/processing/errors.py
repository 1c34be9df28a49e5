"""What is raised for a prompt that cannot be encoded, and only for that."""


class PromptError(ValueError):
    """The text, the placeholders or an image of one prompt is unusable.

    A data pipeline may skip the row, count it and go on. Faults of the model directory or of the
    settings are other errors: they would come back with every row.
    """


class ImageError(PromptError):
    """One image is unusable; the message says which image and what is wrong with it."""
