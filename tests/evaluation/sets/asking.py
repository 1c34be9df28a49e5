"""Judges for tests: they reply what they are told, and keep what they were asked."""


class Judge:
    """Replies in turn, and fails if it is asked more often."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.asked = []

    def __call__(self, prompt):
        self.asked.append(prompt)
        return self.replies.pop(0)


def scored(benchmark, example, response):
    """The prediction and the score by rules."""
    found = benchmark.score(example, response)
    return found.prediction, found.score


def judged(benchmark, example, response, *replies):
    """The prediction and the score that a judge with these replies leads to; all are asked for."""
    judge = Judge(*replies)
    found = benchmark.judge(example, response, judge)
    assert not judge.replies, "the judge was asked less often than it could reply"
    return found.prediction, found.score
