"""A reward of a user's own, in a module that a grader's process imports at once."""


def always_one(responses, answers, metadata):
    """A reward that every response earns."""
    return [1.0] * len(responses)
