"""Scenarios of rows and images."""

import io
import json
import os
import threading
from types import SimpleNamespace

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageFile

from perl_jax.data.sources.columns import ColumnsConfig, RowOptions
from perl_jax.data.sources.source import BadRow
from perl_jax.processing import ImageError
from tests.guards.removal import Fault, hold, refused


def encoded(kind, size=(8, 8), mode="RGB", **options):
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def half_a_photograph():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    return file.getvalue()[: len(file.getvalue()) // 2]


# Rows


def a_path_of_a_bucket_leads_out_of_it(module, directory):
    system = fsspec.filesystem("memory")
    system.pipe_file("/bucket/secret", b"secret")
    read = []
    module.read_start = lambda root, name, limit: read.append(name)
    call = lambda: module.encoded_image("../secret", "memory://bucket/images", "row")  # noqa: E731
    refused(BadRow, "unsafe_path", call)
    hold(not read, "the bucket was asked for a file outside of the folder")


def a_link_leads_out_of_the_images(module, directory):
    (directory / "secret").write_bytes(b"secret")
    root = directory / "images"
    root.mkdir()
    (root / "photo.png").symlink_to(directory / "secret")
    refused(BadRow, "leads out of", lambda: module.encoded_image("photo.png", root, "row"))


def a_pipe_stands_among_the_images(module, directory):
    os.mkfifo(directory / "photo.png")

    def write():
        with open(directory / "photo.png", "wb") as pipe:
            pipe.write(b"x")

    threading.Thread(target=write, daemon=True).start()
    call = lambda: module.encoded_image("photo.png", directory, "row")  # noqa: E731
    refused(BadRow, "not a regular file", call)


def a_file_of_images_has_no_end(module, directory):
    module.MAX_BYTES = 1000
    (directory / "photo.png").write_bytes(bytes(5000))
    hold(len(module.encoded_image("photo.png", directory, "row")) <= 1001, "read it all")


def a_url_stands_for_an_image(module, directory):
    class Answer(bytes):
        pass

    module._read_remote = lambda *_: Answer(b"metadata of the machine")
    call = lambda: module.encoded_image("http://169.254.169.254/", "gs://b/images", "r")  # noqa: E731
    refused(BadRow, "is a URL, which is not fetched", call)


def jsonl(module, directory, *lines):
    path = directory / "rows.jsonl"
    good = {"question": "<image>?", "answer": "3", "images": ["a.png"], "id": "1"}
    path.write_bytes(b"\n".join([json.dumps(good).encode(), *lines]) + b"\n")
    return module._File(str(path), path.name)


class Seen:
    mapped, missing = False, ()

    def add(self, row):
        pass


def a_line_is_longer_than_the_memory(module, directory):
    module._MAX_LINE_BYTES = 1000
    file = jsonl(module, directory, b"x" * 50_000)
    with open(file.path, "rb") as lines:
        longest = max(len(line) for _, _, line in module._lines(lines))
    hold(longest <= 1001, f"held {longest} bytes of a line")


def a_long_line_is_asked_for(module, directory):
    module._MAX_LINE_BYTES = 1000
    file = jsonl(module, directory, b"x" * 50_000)
    file.index(Seen())
    refused(BadRow, "too_long", lambda: file.read(1))


def a_line_is_nested_without_end(module, directory):
    refused(BadRow, "bad_json", lambda: module._parse(b"[" * 100_000, "row"))


def a_text_is_half_a_character(module, directory):
    line = b'{"question": "\\ud800"}'
    refused(BadRow, "bad_text", lambda: module._parse(line, "row"))


def metadata_is_nested_without_end(module, directory):
    columns = module.ColumnsConfig("q", "a", metadata_json="m")
    row = {"q": "?", "a": "1", "m": "[" * 100_000}
    options = module.RowOptions(None, "", None)
    call = lambda: module.read_row(columns, row, "row", "stem", options)  # noqa: E731
    refused(BadRow, "bad_metadata", call)


def a_question_has_more_options_than_letters(module, directory):
    columns = module.ColumnsConfig("q", "a", options="o")
    row = {"q": "?", "a": "A", "o": ["x"] * 27}
    options = module.RowOptions(None, "", None)
    call = lambda: module.read_row(columns, row, "row", "stem", options)  # noqa: E731
    refused(BadRow, "at most 26", call)


def an_answer_names_no_option(module, directory):
    columns = module.ColumnsConfig("q", "a", options="o", answer_is="index")
    row = {"q": "?", "a": 2, "o": ["x", "y"]}
    options = module.RowOptions(None, "", None)
    call = lambda: module.read_row(columns, row, "row", "stem", options)  # noqa: E731
    refused(BadRow, "the index of an option", call)


def write_parquet(path, **columns):
    pq.write_table(pa.table(columns), path)


def a_row_group_is_larger_than_arrow_can_read(module, directory):
    module._MAX_COLUMN_BYTES = 1000
    write_parquet(directory / "rows.parquet", question=["?" * 5000], answer=["1"])
    columns = ColumnsConfig("question", "answer")
    call = lambda: module.ParquetSource(directory / "rows.parquet", columns=columns)  # noqa: E731
    refused(ValueError, "at most 2 GiB in a column", call)


def two_rows_have_one_id(module, directory):
    class Rows(module.RowFiles):
        _options, _names, _columns = (
            RowOptions(None, "", None),
            (),
            ColumnsConfig("q", "a", id=("i",)),
        )

        def _index(self): ...

        def _read(self, block, offset): ...

        def _identities(self):
            return iter([("rows:1", {"i": "x"}), ("rows:2", {"i": "x"})])

    refused(ValueError, "an id of its own", object.__new__(Rows)._check)


def saved_directory(directory):
    inside = directory / "set"
    inside.mkdir()
    table = pa.table({"question": ["?"], "answer": ["1"]})
    for place in (directory, inside):
        with pa.ipc.new_stream(place / "rows.arrow", table.schema) as writer:
            writer.write_table(table)
    return inside


def a_saved_set_leads_out_of_its_directory(module, directory):
    inside = saved_directory(directory)
    state = {"_data_files": [{"filename": "../rows.arrow"}]}
    (inside / "state.json").write_text(json.dumps(state))
    hold(module._data_files(inside) == [inside / "rows.arrow"], "reads a file outside of it")


def a_saved_set_is_cut_off(module, directory):
    file = saved_directory(directory) / "rows.arrow"
    file.write_bytes(file.read_bytes()[:-8])
    refused(ValueError, "its end is missing", lambda: module._read_stream(str(file)))


def features_of_a_data_set_import_a_module(module, directory):
    folder = directory / "set" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    (folder / "features.json").write_text('{"type": "evil.Feature", "content": {}}')
    refused(ValueError, "which are not read", lambda: module.TfdsSource(folder))


def a_file_ends_before_the_range(module, directory):
    (directory / "rows").write_bytes(b"123")
    refused(OSError, "it ends at 3", lambda: module.read_range(str(directory / "rows"), 0, 5))


def a_bucket_sends_less_than_it_was_asked_for(module, directory):
    class Short:
        async_impl = False

        def cat_file(self, path, start, end):
            return b"1"

    refused(OSError, "expected 5 bytes", lambda: module._fetch(Short(), "rows", 0, 5))


def a_bucket_does_not_answer(module, directory):
    class Silent:
        tries = 0

        def result(self, seconds):
            self.tries += 1
            if self.tries > 20:
                return "late"
            raise TimeoutError

        def done(self):
            return False

        def cancel(self): ...

    system = SimpleNamespace(async_impl=True, loop=None, _info=lambda path: None)
    module.asyncio = SimpleNamespace(run_coroutine_threadsafe=lambda *_: Silent())
    module.time = SimpleNamespace(monotonic=iter(range(0, 10_000, 100)).__next__)
    refused(TimeoutError, "no answer within", lambda: module._run(system, "info", "rows"))


def a_name_in_a_bucket_leads_out_of_the_directory(module, directory):
    fsspec.filesystem("memory").pipe_file("/run/x/y", b"1")
    folder = module.RemoteFolder("memory://run")
    target = directory / "in" / ".." / "out"
    call = lambda: folder.fetch("x/../x/y", 1, target)  # noqa: E731
    refused(module.StorageError, "leads elsewhere", call)


def a_copy_has_another_size(module, directory):
    fsspec.filesystem("memory").pipe_file("/sized/y", b"12345")
    folder = module.RemoteFolder("memory://sized")
    call = lambda: folder.fetch("y", 1, directory / "y")  # noqa: E731
    refused(module.StorageError, "expected 1 bytes; got 5", call)


# Images


def a_format_that_no_data_set_needs(module, directory):
    refused(ImageError, "not a JPEG", lambda: module.load_rgb(encoded("GIF", mode="L")))


def a_picture_of_gigabytes(module, directory):
    module.MAX_PIXELS = 100
    refused(ImageError, "megapixels", lambda: module.load_rgb(encoded("PNG", (11, 11))))


def a_file_of_gigabytes(module, directory):
    module.MAX_BYTES = 100
    data = encoded("BMP", (40, 40))
    refused(ImageError, "MiB of encoded bytes", lambda: module.load_rgb(data))


def a_damaged_picture_is_filled_with_grey(module, directory):
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        call = lambda: module.load_rgb(half_a_photograph())  # noqa: E731
        refused(ImageError, "LOAD_TRUNCATED_IMAGES is on", call)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def a_picture_with_a_flipped_bit(module, directory):
    data = bytearray(encoded("PNG"))
    place = data.index(b"IDAT") + 6
    data[place] ^= 1
    words = "its checksum is wrong"
    refused(ImageError, words, lambda: module.without_damaged_metadata(bytes(data)))


def a_picture_that_is_cut_off(module, directory):
    data = encoded("PNG")[:-12]
    refused(ImageError, "is missing", lambda: module.without_damaged_metadata(data))


def a_path_is_a_device(module, directory):
    os.mkfifo(directory / "photo.png")
    threading.Thread(
        target=lambda: (directory / "photo.png").write_bytes(b"x"), daemon=True
    ).start()
    refused(ImageError, "not a regular file", lambda: module.load_rgb(directory / "photo.png"))


def a_path_is_a_web_address(module, directory):
    words = "URLs are not fetched"
    refused(ImageError, words, lambda: module.load_rgb("http://169.254.169.254/photo.png"))


def a_picture_can_be_seen_through(module, directory):
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    hold(module.load_rgb(picture).min() == 255, "what is transparent turned black")


def a_picture_holds_numbers_of_any_size(module, directory):
    picture = Image.fromarray(np.array([[-5, 70_000]], np.int32))
    refused(ImageError, "holds values from", lambda: module.load_rgb(picture))


def a_photograph_lies_on_its_side(module, directory):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded("JPEG", (16, 8), exif=exif)
    hold(module.load_rgb(data).shape == (16, 8, 3), "the photograph lies on its side")


def a_decoder_raises_anything(module, directory):
    try:
        module.load_rgb(half_a_photograph())
    except ImageError:
        return
    except Exception as error:
        raise Fault(f"a decoder's own error comes out: {error!r}") from error


def a_picture_is_a_line(module, directory):
    call = lambda: module.smart_resize(  # noqa: E731
        1, 30_000, factor=28, min_pixels=1, max_pixels=10**6
    )
    refused(ImageError, "more than 200 times", call)
