"""What ends a command says: one line, which no terminal obeys."""

import importlib
import pkgutil

import pytest

import perl_jax
from perl_jax.main import one_line_errors
from perl_jax.runs import RUN_ERRORS


def ended_by(error, capsys):
    with pytest.raises(SystemExit) as end, one_line_errors(KeyError):
        raise error
    return end.value.code, capsys.readouterr()


def test_an_error_is_one_line_on_standard_error_without_escapes_of_the_data(capsys):
    code, printed = ended_by(ValueError("row 'a\x1b[2J': no image"), capsys)
    assert (code, printed.out) == (1, "")
    assert printed.err == "error: row 'a\\u001b[2J': no image\n"


def test_an_interrupted_command_says_so_in_one_line(capsys):
    code, printed = ended_by(KeyboardInterrupt(), capsys)
    assert (code, printed.err) == (1, "error: interrupted\n")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_with_debug_what_ends_a_command_is_raised(error):
    with pytest.raises(error), one_line_errors(debug=True):
        raise error


def test_every_failure_that_has_a_name_of_ours_ends_a_run_in_one_line():
    for module in pkgutil.walk_packages(perl_jax.__path__, "perl_jax."):
        if not module.name.endswith(("__main__", ".gpu", ".tpu")):
            importlib.import_module(module.name)
    ours = {kind for kind in _below(RuntimeError) if kind.__module__.startswith("perl_jax.")}
    assert len(ours) >= 7
    assert {kind for kind in ours if not issubclass(kind, RUN_ERRORS)} == set()


def _below(kind):
    return {kind, *(other for child in kind.__subclasses__() for other in _below(child))}
