"""Converts examples to records of a TFDS data set and back, without TensorFlow."""

import io
import json
from collections.abc import Mapping
from typing import Any

import tensorflow_datasets as tfds
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from perl_jax.files import parse_json
from perl_jax.legible import brief
from perl_jax.types import Example, Turn

# The key of the turns in the JSON text of the metadata.
_TURNS = "perl_jax.turns"


class _Encoded(tfds.decode.SkipDecoding):
    """Leaves a sequence of images encoded: TFDS can only skip decoding single ones."""

    def decode_batch_example_np(self, example: Any) -> Any:
        return example


FEATURES = tfds.features.FeaturesDict(
    {
        "id": tfds.features.Text(),
        "source": tfds.features.Text(),
        "question": tfds.features.Text(),
        "images": tfds.features.Sequence(tfds.features.Image()),
        "answer": tfds.features.Text(),
        "options": tfds.features.Sequence(tfds.features.Text()),
        "metadata": tfds.features.Text(),
    }
)
"""The fields of an `Example`: images encoded, metadata and turns as JSON text."""

FEATURES_FILE: Mapping[str, Any] = MessageToDict(FEATURES.to_proto())
"""What TFDS writes as ``features.json``."""

_SERIALIZER = ExampleSerializer(FEATURES.get_serialized_info())
DECODERS = {"images": _Encoded()}
"""For ``as_data_source``: images stay encoded."""


def to_record(example: Example) -> bytes:
    """Serialises an example, to the same bytes in every process.

    Raises:
        UnicodeEncodeError: A text has half of a surrogate pair.
        TypeError: An image is not bytes, or metadata is not JSON.
        ValueError: Metadata holds a number that is not finite.
    """
    for image in example.images:
        if not isinstance(image, bytes):
            raise TypeError(f"{example.id}: expected encoded images; got {type(image).__name__}")
    turns = [[turn.role, turn.text] for turn in example.turns]
    metadata = dict(example.metadata) | ({_TURNS: turns} if turns else {})
    fields = {
        "id": example.id.encode(),
        "source": example.source.encode(),
        "question": example.question.encode(),
        # TFDS would take bytes for a path, and decodes arrays with TensorFlow.
        "images": [io.BytesIO(image) for image in example.images],
        "answer": example.answer.encode(),
        "options": [option.encode() for option in example.options],
        "metadata": json.dumps(metadata, allow_nan=False),
    }
    record = _SERIALIZER.get_tf_example(FEATURES.encode_example(fields))
    # Without it, the order of the fields differs from process to process.
    return record.SerializeToString(deterministic=True)


def from_fields(fields: Mapping[str, Any]) -> Example:
    """The example of a record read with `DECODERS`; ValueError if it is not UTF-8 or JSON."""
    metadata = parse_json(fields["metadata"])
    if not isinstance(metadata, dict):
        raise ValueError(f"metadata: expected a JSON object; got {type(metadata).__name__}")
    turns = metadata.pop(_TURNS, ())
    if not isinstance(turns, list | tuple) or not all(map(_is_turn, turns)):
        raise ValueError(f"metadata: expected turns of a role and a text; got {brief(turns)}")
    return Example(
        id=fields["id"].decode(),
        source=fields["source"].decode(),
        question=fields["question"].decode(),
        images=tuple(fields["images"]),
        answer=fields["answer"].decode(),
        options=tuple(option.decode() for option in fields["options"]),
        metadata=metadata,
        turns=tuple(Turn(role, text) for role, text in turns),
    )


def _is_turn(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(x, str) for x in value)
