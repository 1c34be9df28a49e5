"""Values and names are shown in messages on one line, cut and without unseen characters."""

from perl_jax.legible import field_name, name_list, suggestion


def test_a_suggestion_does_not_depend_on_letter_case():
    assert suggestion("MEEN", ["mean", "none"]) == " (did you mean 'mean'?)"
    assert suggestion("mean_", {"Mean": 1}) == " (did you mean 'Mean'?)"
    assert suggestion("other", ["mean", "none"]) == ""


def test_a_name_in_a_message_is_short_and_on_one_line():
    assert field_name("images") == "images"
    assert field_name("a b\n\tc\x1b[2J\u202e\u2028") == "a b\\n\\tc\\u001b[2J\\u202e\\u2028"
    assert field_name("9" * 5000) == "9" * 300 + "... (4700 more characters)"


def test_names_in_a_message_are_listed_up_to_a_number():
    assert name_list(["a", 2, "b\n"]) == "a, 2, b\\n"
    assert name_list(map(str, range(5)), most=3) == "0, 1, 2 and 2 more"
    assert name_list([]) == ""
    assert len(name_list(["9" * 5000] * 5000)) < 4000
