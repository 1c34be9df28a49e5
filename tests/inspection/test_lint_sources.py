import json

import pytest

from perl_jax.data.sources.digits import Digits, DigitsConfig
from perl_jax.data.sources.parquet import ParquetSource
from perl_jax.inspection.cards import draw
from perl_jax.inspection.lint import lint_source, main
from perl_jax.permutation import rule_for
from tests.data.sources.parquet_files import verl_row, write_verl
from tests.inspection.multi_image_rows import GREYS, grey_of, row, solvable_rows, solve
from tests.inspection.page_reader import read_page

NLVR2, DREAMSIM, ICONQA = (f"Mantis-Instruct-{name}" for name in ("nlvr2", "dreamsim", "iconqa"))
TRUE_FALSE = "\n(A) True\n(B) False"


@pytest.fixture
def unfit(tmp_path):
    """Five rows that cannot be permuted, each for another reason, and three that can."""
    rows = [
        row(0, NLVR2, f"<image> <image> The dog on the right is red.{TRUE_FALSE}", GREYS[:2], "A"),
        row(1, DREAMSIM, "<image><image><image>Which one comes next?", GREYS[:3], "Image 2"),
        row(2, ICONQA, "<image>What is it?\nA. 3\nB. 4", GREYS[:1], "B"),
        row(3, ICONQA, "<image><image>How many?\nA. 3\nB. 4", GREYS[:2], "B"),
        row(4, "Mantis-Instruct-nextqa", "<image><image>Why?\nA. x\nB. y", GREYS[:2], "A"),
        *(row(5 + n, NLVR2, f"<image> <image> Both are red.{TRUE_FALSE}", GREYS[:2], "A")
          for n in range(3)),
    ]  # fmt: skip
    return write_verl(tmp_path / "unfit.parquet", rows)


def test_all_questions_about_digits_can_be_permuted():
    report, bad = lint_source(Digits(DigitsConfig(rows=80)))
    assert (report.total, report.permuted, report.reasons) == (80, 80, {})
    assert (bad.rows, bad.fraction) == (80, 0.0)


def test_the_table_of_digits_says_so(capsys):
    assert main(["digits", "--limit=40"]) == 0
    printed = capsys.readouterr().out
    assert "40 of 40 examples can be permuted (100.0%)" in printed
    assert "0 of 40 rows cannot be used (0.0%)" in printed


def test_what_cannot_be_permuted_is_counted_by_reason(unfit, tmp_path, capsys):
    assert main([str(unfit), f"--json={tmp_path / 'found.json'}"]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["reasons"] == {
        "ambiguous_side": 1, "sequence_word": 1, "single_image": 1, "no_option_images": 1,
        "temporal": 1,
    }  # fmt: skip
    assert found["sources"] == {
        NLVR2: [4, 3], DREAMSIM: [1, 0], ICONQA: [2, 0], "Mantis-Instruct-nextqa": [1, 0]
    }  # fmt: skip
    assert (found["rows"], found["permuted"], found["share"]) == (8, 3, 0.375)
    assert "ambiguous_side                         1  Mantis-" in capsys.readouterr().out


def test_permuted_answers_agree_with_the_permuted_images(tmp_path):
    source = ParquetSource(write_verl(tmp_path / "rows.parquet", solvable_rows(15)))
    report, bad = lint_source(source)
    assert (report.permuted, report.total, bad.reasons) == (45, 45, {})
    changed = 0
    for number in range(len(source)):
        own = source[number]
        for seed in range(4):
            _, permuted = draw(own, rule_for(own), seed)
            greys = [grey_of(image) for image in permuted.images]
            assert permuted.answer == solve(own.source, permuted.question, greys)
            changed += permuted.answer != own.answer
    assert changed > 10


def test_bad_rows_are_counted_and_named_beside_it(tmp_path, capsys):
    rows = [verl_row(index) for index in range(6)]
    rows[1] = verl_row(1, [{"bytes": None, "path": "gone.png"}])
    rows[2] = verl_row(2, question="<image> Only one of two?")
    path = write_verl(tmp_path / "rows.parquet", rows)
    assert main([str(path), f"--image_root={tmp_path}", "--max_bad_fraction=0.34"]) == 0
    printed = capsys.readouterr().out
    assert "2 of 6 rows cannot be used (33.3%)" in printed
    assert "missing_image                          1  rows.parquet:1 (digits/train/1)\n" in printed
    assert "    'gone.png': No such file or directory\n" in printed
    assert "image_count                            1  rows.parquet:2 (digits/train/2)\n" in printed
    message = "1 image placeholders for 2 images; write <image> where an image is shown, or set"
    assert f"    {message}" in printed
    assert "before the question" in printed  # the message is wrapped, not cut
    assert max(map(len, printed.splitlines())) <= 100


def test_too_many_bad_rows_make_the_exit_code_1(tmp_path, capsys):
    rows = [verl_row(0), verl_row(1, question="None?")]
    path = write_verl(tmp_path / "rows.parquet", rows)
    assert main([str(path), "--max_bad_fraction=0.49"]) == 1
    assert "max_bad_fraction = 0.49" in capsys.readouterr().err
    assert main([str(path), "--max_bad_fraction=0.5"]) == 0


def test_images_are_decoded_where_asked(tmp_path):
    broken = [{"bytes": b"<svg onload='x()'/>", "path": None}] * 2
    path = write_verl(tmp_path / "rows.parquet", [verl_row(0, broken), verl_row(1)])
    assert lint_source(ParquetSource(path))[1].reasons == {}
    assert lint_source(ParquetSource(path), decode_images=True)[1].reasons == {"bad_image": 1}


def test_the_users_rules_apply(tmp_path):
    rows = [row(0, "mine", "<image><image>Both?", GREYS[:2], "yes")]
    path = write_verl(tmp_path / "rows.parquet", rows)
    found, rules = tmp_path / "found.json", tmp_path / "rules.json"
    rules.write_text('{"mine": {"movable": "all"}}')
    main([str(path), f"--json={found}"])
    assert json.loads(found.read_text())["reasons"] == {"unknown_source": 1}
    main([str(path), f"--json={found}", f"--rules={rules}"])
    assert json.loads(found.read_text())["permuted"] == 1


def test_text_of_rows_does_not_steer_the_terminal(tmp_path, capsys):
    question = "<image> <image> The left image is \x1b[31mred.\nA. Yes\nB. No"
    rows = [row(0, NLVR2, question, GREYS[:2], "A")]
    main([str(write_verl(tmp_path / "rows.parquet", rows))])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert r"The right image is \u001b[31mred." in printed


def test_an_audit_shows_as_many_permuted_rows_as_asked_and_no_others(unfit, tmp_path, capsys):
    out = tmp_path / "audit.html"
    main([str(unfit), f"--audit={out}", "--audit_rows=2"])
    assert f"2 permuted rows to audit: {out}" in capsys.readouterr().out
    rows = read_page(out.read_text()).all("row")
    assert [row.one("state").text for row in rows] == ["permuted, answer stays"] * 2
    main([str(unfit), f"--audit={out}"])
    assert len(read_page(out.read_text()).all("row")) == 3  # that is all
