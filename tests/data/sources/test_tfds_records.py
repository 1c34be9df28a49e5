"""Records of a built data set: what is read is what was written."""

from perl_jax.data.sources import tfds_records
from perl_jax.types import Example, Turn


def read_back(example):
    record = tfds_records.to_record(example)
    fields = tfds_records.FEATURES.deserialize_example_np(record, decoders=tfds_records.DECODERS)
    return tfds_records.from_fields(fields)


def test_the_turns_of_an_example_are_kept_beside_its_metadata():
    plain = Example("1", "mine", "?", (b"png",), "A", ("A. 1",), {"level": 3})
    turns = (Turn("system", "Be brief."), Turn("user", "<image>?"), Turn("assistant", "A dog."))
    with_turns = Example(**{**vars(plain), "turns": turns})
    assert read_back(plain) == plain
    assert read_back(with_turns) == with_turns
