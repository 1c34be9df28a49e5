"""What ends a command says: one line, which no terminal obeys."""

import pytest

from perl_jax.main import one_line_errors


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
