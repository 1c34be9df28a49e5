"""The configured text around questions reaches the rows of training and of evaluation."""

from contextlib import ExitStack

from perl_jax import parts as run_parts
from perl_jax.config import TrainConfig
from perl_jax.parts import make_evaluator, open_parts, open_rows
from perl_jax.settings import read_config
from perl_jax.types import prompt_of

DIGITS = {"digits": {"rows": 4}}


def test_training_and_evaluation_show_the_configured_text(tmp_path, processor, monkeypatch):
    config = read_config(
        TrainConfig,
        {
            "model": {"path": "somewhere"},
            "data": {
                "train": DIGITS,
                "held_out": DIGITS,
                "prompt": {"system": "Be brief.", "template": "{question} Think."},
            },
            "steps": 1,
        },
    )
    monkeypatch.setattr(run_parts, "open_processor", lambda config: processor)
    monkeypatch.setattr(run_parts, "load_policy", lambda *arguments: None)
    evaluated = []
    monkeypatch.setattr(
        run_parts, "evaluate", lambda sampler, model, examples, **more: evaluated.extend(examples)
    )
    with ExitStack() as stack:
        parts = open_parts(config, open_rows(config), None, tmp_path, stack)
        trained = parts.pipeline.take(2).examples
        make_evaluator(config, parts)(None)
    assert len(evaluated) == 4
    for example in (*trained, *evaluated):
        system, user = prompt_of(example)
        assert system == {"role": "system", "content": "Be brief."}
        assert user["content"].endswith(" Think.")
