"""Compiled programs are kept where runs find them, and never where another processor would."""

import logging
import os
import time

import jax
import pytest

from perl_jax import compilation
from perl_jax.compilation import CompilationConfig, default_directory, use_cache

OPTIONS = (
    "jax_compilation_cache_dir", "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _as_before(monkeypatch, tmp_path):
    before = {name: getattr(jax.config, name) for name in OPTIONS}
    for name in OPTIONS:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def directory():
    return jax.config.jax_compilation_cache_dir


def test_the_default_is_a_bounded_directory_of_the_user(tmp_path):
    use_cache(CompilationConfig())
    assert directory() == str(default_directory(os.environ))
    assert directory().startswith(str(tmp_path / "cache" / "perl_jax"))
    assert os.path.isdir(directory())
    assert jax.config.jax_compilation_cache_max_size == 4 * 2**30
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0.02


def test_the_default_names_the_version_and_the_processor(monkeypatch):
    mine = default_directory({"XDG_CACHE_HOME": "/c"})
    assert jax.__version__ in mine.name
    monkeypatch.setattr(compilation.platform, "machine", lambda: "other")
    assert default_directory({"XDG_CACHE_HOME": "/c"}) != mine


def test_processors_with_other_instructions_share_nothing(monkeypatch):
    class Facts:
        def __init__(self, text):
            self.text = text

        def __call__(self, path):
            return self

        def read_text(self, **options):
            return self.text

    names = set()
    for text in ("flags\t\t: sse avx2\n", "flags\t\t: sse avx512f\n", "flags\t\t: sse avx2\n"):
        monkeypatch.setattr(compilation, "Path", Facts(text))
        names.add(compilation._processor())
    assert len(names) == 2


def test_a_place_can_be_given_or_none(tmp_path):
    use_cache(CompilationConfig(cache=str(tmp_path / "mine")))
    assert directory() == str(tmp_path / "mine")
    use_cache(CompilationConfig(cache="gs://bucket/programs"))
    assert directory() == "gs://bucket/programs"
    use_cache(CompilationConfig(cache=None))
    assert directory() is None


def test_the_environment_wins_and_its_directory_is_left_as_it_is(tmp_path, monkeypatch):
    old = tmp_path / "shared" / "jit_f-1-cache"
    old.parent.mkdir()
    old.write_bytes(b"a program without its time of use")
    os.utime(old, (0, 0))
    size = jax.config.jax_compilation_cache_max_size
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(old.parent))
    use_cache(CompilationConfig(cache=None))
    assert directory() == str(old.parent)
    assert old.exists()
    assert jax.config.jax_compilation_cache_max_size == size


def test_an_empty_variable_turns_the_cache_off(monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    use_cache(CompilationConfig())
    assert directory() is None


def test_a_place_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    file = tmp_path / "file"
    file.write_text("")
    with caplog.at_level(logging.WARNING, "perl_jax.compilation"):
        use_cache(CompilationConfig(cache=str(file / "below")))
    assert directory() is None
    assert "compilation.cache" in caplog.text
    assert str(file / "below") in caplog.text


def test_half_stored_programs_are_removed_and_young_ones_stay():
    cache = default_directory(os.environ)
    cache.mkdir(parents=True)
    torn, young, whole = (cache / f"jit_f-{n}-cache" for n in range(3))
    for file in (torn, young, whole):
        file.write_bytes(b"program")
    whole.with_name("jit_f-2-atime").write_bytes(b"time")
    for file in (torn, whole):
        os.utime(file, (time.time() - 3600,) * 2)
    use_cache(CompilationConfig())
    assert [file.exists() for file in (torn, young, whole)] == [False, True, True]


def test_options_of_the_environment_stay(monkeypatch):
    before = jax.config.jax_persistent_cache_min_compile_time_secs
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "3")
    use_cache(CompilationConfig())
    assert jax.config.jax_persistent_cache_min_compile_time_secs == before
