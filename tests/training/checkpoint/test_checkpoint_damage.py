"""A damaged step is reported and passed over; nothing wrong is ever restored, nothing lost."""

import gc
import hashlib
import json
import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from perl_jax.training.checkpoint import (
    CheckpointConfig,
    CheckpointError,
    Checkpoints,
    FingerprintError,
)
from tests.training.checkpoint.checkpoint_states import (
    FINGERPRINT,
    abstract,
    assert_same,
    host,
    mesh,
    state,
)

# Orbax gives up the other reads of a damaged step, and its loop closes before they end. Once they
# are collected, they raise, or say that nobody awaited them, in whatever test runs at that time.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]

LOGGER = "perl_jax.training.checkpoint.checkpoints"
KEEP_ALL = CheckpointConfig(every=1, keep_last=9)


def open_at(directory, fingerprint=FINGERPRINT, config=KEEP_ALL):
    return Checkpoints(directory, config, fingerprint=fingerprint)


@pytest.fixture(autouse=True)
def _given_up_reads_end_with_their_test():
    yield
    gc.collect()


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    directory = tmp_path_factory.mktemp("original") / "checkpoints"
    with open_at(directory) as checkpoints:
        for step in (10, 20, 30):
            checkpoints.save(step, state(step), host(step), metric=step / 100)
    return directory


@pytest.fixture
def directory(original, tmp_path):
    return shutil.copytree(original, tmp_path / "checkpoints")


@pytest.fixture(scope="module")
def wanted():
    return abstract(state(0))


def files_of(step):
    return sorted(path for path in step.rglob("*") if path.is_file())


def assert_is_step(restored, step):
    assert (restored.step, restored.host, restored.metric) == (step, host(step), step / 100)
    assert_same(restored.arrays, state(step))


def messages(caplog, level):
    # Others log too, when they like: asyncio about reads that Orbax has given up.
    return [
        record.getMessage()
        for record in caplog.records
        if (record.name, record.levelno) == (LOGGER, level)
    ]


def flipped(content, place, bit):
    broken = bytearray(content)
    broken[place] ^= 1 << bit
    return bytes(broken)


@pytest.mark.reliability("F7")
def test_flipped_bits_in_any_file_never_restore_anything_but_a_whole_step(directory, wanted):
    """Orbax gives the files random names, so nothing here may depend on their order."""
    for path in files_of(directory / "30"):
        whole = path.read_bytes()
        last = len(whole) - 1
        for place, bit in zip(
            (0, last // 4, last // 2, 3 * last // 4, last), (0, 6, 3, 7, 4), strict=True
        ):
            path.write_bytes(flipped(whole, place, bit))
            restored = open_at(directory).restore(wanted)
            # Orbax keeps a few files that it does not need: notes of times, earlier indices.
            assert restored.step in (20, 30), (path, place)
            assert_is_step(restored, restored.step)
        path.write_bytes(whole)
    assert_is_step(open_at(directory).restore(wanted), 30)


def kernel_file(step):
    """The file with a part of the kernel, as it is in memory, and where that part begins."""
    kernel = state(30)["params"]["kernel"].addressable_shards[0].data
    part = np.asarray(kernel).tobytes()[1000:1100]
    (found,) = [path for path in files_of(step) if part in path.read_bytes()]
    return found, found.read_bytes().index(part)


def record_file(step, text):
    path = step / "record" / "metadata"
    return path, path.read_bytes().index(text)


@pytest.mark.parametrize(
    ("place_of", "bit", "cause"),
    [
        (lambda step: record_file(step, b"{"), 0, "JSONDecodeError"),
        # 210 becomes 310.
        (lambda step: record_file(step, b'210}, "skipped"'), 0, "its digest differs"),
        (lambda step: (step / "arrays" / "manifest.ocdbt", 40), 3, "DATA_LOSS"),
        (kernel_file, 5, "1 checksums differ, the first of params.kernel"),
    ],
    ids=["no JSON", "another record", "another index", "another array"],
)
def test_every_kind_of_check_notices_its_kind_of_damage(
    directory, wanted, caplog, place_of, bit, cause
):
    path, place = place_of(directory / "30")
    path.write_bytes(flipped(path.read_bytes(), place, bit))
    with caplog.at_level(logging.ERROR, LOGGER):
        assert_is_step(open_at(directory).restore(wanted), 20)
    (message,) = messages(caplog, logging.ERROR)
    assert f"{directory}/30 is of no use: " in message
    assert cause in message


def test_a_flipped_bit_in_the_record_falls_back_wherever_it_is(directory, wanted):
    path = directory / "30" / "record" / "metadata"
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(flipped(whole, place, place % 7))
        assert open_at(directory).restore(wanted).step == 20, place


@pytest.mark.reliability("F7")
@pytest.mark.parametrize("name", ["kernel", "bias", "flags", "rollout"])
def test_one_bit_that_differs_in_one_array_is_named_and_falls_back(directory, wanted, caplog, name):
    """The array is written again, by Orbax itself: only our checksum can tell."""
    arrays = directory / "30" / "arrays"
    stored = {
        path: np.array(leaf) for path, leaf in ocp.StandardCheckpointer().restore(arrays).items()
    }
    path = next(path for path in stored if path.endswith(name))
    stored[path].view(np.uint8).reshape(-1)[-1] ^= 1
    shutil.rmtree(arrays)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(arrays, jax.tree.map(jnp.asarray, stored))
    with caplog.at_level(logging.ERROR, LOGGER):
        assert_is_step(open_at(directory).restore(wanted), 20)
    (message,) = messages(caplog, logging.ERROR)
    assert (
        f"{directory}/30 is of no use: ValueError: 1 checksums differ, the first of {path}"
        in message
    )


@pytest.mark.reliability("F6")
def test_truncated_and_emptied_files_fall_back_or_do_not_matter(directory, wanted):
    needed = 0
    for path in files_of(directory / "30"):
        whole = path.read_bytes()
        for length in (0, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            restored = open_at(directory).restore(wanted)
            assert_is_step(restored, restored.step)
            needed += restored.step == 20
        path.write_bytes(whole)
    assert needed >= 9


@pytest.mark.reliability("F9")
@pytest.mark.parametrize(
    "gone", ["record", "arrays", "record/metadata", "arrays/d", "arrays/manifest.ocdbt"]
)
def test_a_step_without_a_part_falls_back(directory, wanted, gone, caplog):
    path = directory / "30" / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with caplog.at_level(logging.ERROR, LOGGER):
        assert_is_step(open_at(directory).restore(wanted), 20)
    assert f"{directory}/30 is of no use: " in messages(caplog, logging.ERROR)[0]


def test_two_damaged_steps_fall_back_to_the_third(directory, wanted):
    (directory / "30" / "record" / "metadata").write_text("{}")
    shutil.rmtree(directory / "20" / "arrays")
    checkpoints = open_at(directory)
    assert checkpoints.steps() == [10, 20]
    assert_is_step(checkpoints.restore(wanted), 10)


def test_a_copy_under_another_number_is_not_that_step(directory, wanted):
    shutil.copytree(directory / "10", directory / "40")
    assert open_at(directory).steps() == [10, 20, 30]
    assert_is_step(open_at(directory).restore(wanted), 30)


@pytest.mark.reliability("F3")
@pytest.mark.parametrize("gone", ["record", "arrays", "arrays/d", "arrays/manifest.ocdbt"])
def test_an_old_step_that_was_half_deleted_is_no_loss_and_goes(directory, wanted, gone):
    path = directory / "10" / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    # By these rules it was on its way out, and 20 goes with it.
    with open_at(directory, config=CheckpointConfig(every=1, keep_last=2)) as checkpoints:
        assert_is_step(checkpoints.restore(wanted), 30)
        checkpoints.save(40, state(40), host(40), metric=0.4)
    assert sorted(path.name for path in directory.iterdir()) == ["30", "40"]
    assert_is_step(open_at(directory).restore(wanted), 40)


@pytest.mark.reliability("F11")
def test_if_every_step_is_damaged_the_run_does_not_start_over(directory, wanted):
    for step in (10, 20, 30):
        shutil.rmtree(directory / str(step) / "record")
    checkpoints = open_at(directory)
    with pytest.raises(CheckpointError, match="no usable checkpoint in") as caught:
        checkpoints.restore(wanted)
    for step in (10, 20, 30):
        assert f"step {step}: FileNotFoundError" in str(caught.value)
    assert sorted(path.name for path in directory.iterdir()) == ["10", "20", "30"]


def test_the_step_that_was_asked_for_is_not_replaced_by_another(directory, wanted):
    shutil.rmtree(directory / "20" / "arrays")
    with pytest.raises(CheckpointError, match="step 20: FileNotFoundError"):
        open_at(directory).restore(wanted, step=20)
    assert_is_step(open_at(directory).restore(wanted, step=10), 10)


@pytest.mark.reliability("F8")
def test_nothing_is_restored_from_nothing(tmp_path, wanted):
    assert open_at(tmp_path / "none").restore(wanted) is None
    assert not (tmp_path / "none").exists()
    (tmp_path / "some" / "3").mkdir(parents=True)
    (tmp_path / "some" / "5.orbax-checkpoint-tmp" / "arrays").mkdir(parents=True)
    checkpoints = open_at(tmp_path / "some")
    assert checkpoints.restore(wanted) is None
    assert (checkpoints.steps(), checkpoints.latest_step()) == ([], None)


@pytest.mark.reliability("F8", "F10")
def test_empty_and_unfinished_steps_are_ignored_and_removed_by_the_next_save(directory, wanted):
    (directory / "40").mkdir()
    (directory / "50").mkdir()
    (directory / "50.orbax-checkpoint-tmp" / "arrays").mkdir(parents=True)
    with open_at(directory) as checkpoints:
        assert_is_step(checkpoints.restore(wanted), 30)
        assert len(list(directory.iterdir())) == 6
        checkpoints.save(40, state(40), host(40), metric=0.4)
    assert sorted(path.name for path in directory.iterdir()) == ["10", "20", "30", "40"]
    assert_is_step(open_at(directory).restore(wanted), 40)


def test_a_damaged_step_does_not_block_a_save_under_its_number(directory, wanted):
    shutil.rmtree(directory / "30" / "arrays" / "d")
    with open_at(directory) as checkpoints:
        assert checkpoints.restore(wanted).step == 20
        assert checkpoints.steps() == [10, 20]
        assert (directory / "30").exists()
        assert checkpoints.save(30, state(30), host(30), metric=0.3)
    assert open_at(directory).steps() == [10, 20, 30]
    assert_is_step(open_at(directory).restore(wanted), 30)


def test_damaged_newer_steps_do_not_count_as_the_last_that_are_kept(directory, wanted):
    shutil.rmtree(directory / "20" / "record")
    shutil.rmtree(directory / "30" / "arrays" / "d")
    two = CheckpointConfig(every=1, keep_last=2, keep_best=None)
    with open_at(directory, config=two) as checkpoints:
        assert checkpoints.restore(wanted).step == 10
        checkpoints.save(11, state(11), host(11), metric=0.11)
        checkpoints.wait()
        assert checkpoints.steps() == [10, 11]
    assert sorted(path.name for path in directory.iterdir()) == ["10", "11"]


def test_after_going_back_the_future_that_was_left_is_not_restored(directory, wanted, caplog):
    with open_at(directory) as checkpoints:
        with caplog.at_level(logging.WARNING, LOGGER):
            checkpoints.restore(wanted, step=10)
        assert any("newer steps [20, 30] go" in text for text in messages(caplog, logging.WARNING))
        checkpoints.save(11, state(11), host(11), metric=0.11)
    assert_is_step(open_at(directory).restore(wanted), 11)
    assert sorted(path.name for path in directory.iterdir()) == ["10", "11"]


def test_reading_only_leaves_newer_steps_in_the_account(directory, wanted):
    checkpoints = open_at(directory, fingerprint=None)
    assert_is_step(checkpoints.restore(wanted, step=10), 10)
    assert checkpoints.steps() == [10, 20, 30]


def changed(tree, dtype=None, shape=None):
    kernel = tree["params"]["kernel"]
    other = jax.ShapeDtypeStruct(
        shape or kernel.shape, dtype or kernel.dtype, sharding=kernel.sharding
    )
    return {**tree, "params": {**tree["params"], "kernel": other}}


@pytest.mark.reliability("65")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tree: changed(tree, dtype=jnp.bfloat16),
            r"params\.kernel is float32\[64, 96\] in the checkpoint and bfloat16\[64, 96\] in this",
        ),
        (lambda tree: changed(tree, shape=(96, 64)), r"and float32\[96, 64\] in this run"),
        (lambda tree: {**tree, "new": tree["count"]}, "new is not in the checkpoint"),
        (lambda tree: {"params": tree["params"]}, "count is not in this run; .* and 1 more"),
        (
            lambda tree: {**tree, "keys": {**tree["keys"], "rollout": tree["count"]}},
            r"keys\.rollout is key<fry>\[\] in the checkpoint and int32\[\] in this run",
        ),
    ],
    ids=["dtype", "shape", "new array", "array gone", "a key or not"],
)
def test_arrays_that_do_not_fit_are_refused_by_name(directory, wanted, change, message):
    with pytest.raises(CheckpointError, match=f"step 30: ValueError: other arrays.*{message}"):
        open_at(directory).restore(change(wanted))
    assert len(list(directory.iterdir())) == 3


def test_a_part_is_read_without_the_rest_if_that_is_asked_for(directory, wanted):
    part = {"params": wanted["params"]}
    checkpoints = open_at(directory, fingerprint=None)
    restored = checkpoints.restore(part, partial=True)
    assert_same(restored.arrays, {"params": state(30)["params"]})
    with pytest.raises(CheckpointError, match="new is not in the checkpoint"):
        checkpoints.restore({**part, "new": wanted["count"]}, partial=True)
    empty = checkpoints.restore({"nothing": wanted["nothing"]}, partial=True)
    assert empty.arrays["nothing"].shape == (0, 8)


def test_the_newest_step_that_fits_is_taken(tmp_path):
    small, large = {"w": jnp.ones(4)}, {"w": jnp.ones(8)}
    with open_at(tmp_path / "c") as checkpoints:
        checkpoints.save(1, small, {})
        checkpoints.save(2, large, {})
        assert checkpoints.restore(abstract(small)).step == 1


def test_another_fingerprint_is_refused_entry_by_entry(directory, wanted):
    other = {"code": "c0de", "config": "new", "seed": "1"}
    with pytest.raises(FingerprintError) as caught:
        open_at(directory, other).restore(wanted)
    assert str(caught.value) == (
        f"{directory}/30 belongs to another run:\n"
        "  config: saved as c0ffee, now new\n"
        "  data: saved as da7a, now nothing\n"
        "  seed: saved as nothing, now 1"
    )


def test_differences_that_the_comparison_allows_are_reported(directory, wanted, caplog):
    def compare(place, saved):
        assert (place, saved) == (f"{directory}/30", FINGERPRINT)
        return ["code: another"]

    other = {**FINGERPRINT, "code": "new"}
    with pytest.raises(FingerprintError, match="code: saved as c0de, now new"):
        open_at(directory, other).restore(wanted)
    with caplog.at_level(logging.WARNING, LOGGER):
        restored = open_at(directory, other).restore(wanted, compare=compare)
    assert_is_step(restored, 30)
    (message,) = messages(caplog, logging.WARNING)
    assert message == f"checkpoint {directory}/30: code: another; it goes on with the change"


def test_a_comparison_that_refuses_ends_the_restore(directory, wanted):
    def compare(place, saved):
        raise FingerprintError("another run")

    with pytest.raises(FingerprintError, match="another run"):
        open_at(directory).restore(wanted, compare=compare)


def test_a_record_of_another_version_is_refused(directory, wanted):
    path = directory / "30" / "record" / "metadata"
    content = json.loads(path.read_text()) | {"version": 2}
    del content["sha256"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="the record has version 2; expected 1"):
        open_at(directory).restore(wanted, step=30)


def test_a_mesh_of_other_shape_reads_what_another_saved_after_a_fall_back(directory):
    shutil.rmtree(directory / "30" / "arrays" / "d")
    assert_is_step(open_at(directory).restore(abstract(state(0), mesh(8, 1))), 20)
