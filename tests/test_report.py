"""The command that writes a page about a run."""

import fsspec
import pytest

from perl_jax.report import main
from tests.inspection.page_reader import read_page
from tests.page.runs import write_run


def test_the_command_writes_one_page_and_says_where(tmp_path, capsys):
    workdir, out = write_run(tmp_path / "run"), tmp_path / "report.html"
    before = sorted(workdir.rglob("*"))
    main([f"--workdir={workdir}", f"--out={out}"])
    assert capsys.readouterr().out == f"2 of 2 groups: {out}\n"
    assert len(read_page(out.read_text()).all("group")) == 2
    assert sorted(workdir.rglob("*")) == before
    main([f"--workdir={workdir}", f"--out={out}", "--limit=1"])
    assert capsys.readouterr().out == f"1 of 2 groups: {out}\n"


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_the_copy_of_a_run_in_a_bucket_gives_the_same_page(format, tmp_path):
    workdir, out, same = (
        write_run(tmp_path / "run", format=format), tmp_path / "a.html", tmp_path / "b.html",
    )  # fmt: skip
    bucket = fsspec.filesystem("memory")
    bucket.put(str(workdir), f"/report/{format}/run", recursive=True)
    main([f"--workdir={workdir}", f"--out={out}"])
    main([f"--workdir=memory://report/{format}/run", f"--out={same}"])
    assert same.read_text() == out.read_text()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("none", "none is not a directory"),
        ("empty", "expected the work directory of a run, which has a config.json"),
        ("memory://report/none", "memory://report/none is not a directory"),
    ],
)
def test_a_directory_that_is_none_of_a_run_is_an_error_of_one_line(
    place, message, tmp_path, capsys
):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "report.html"
    with pytest.raises(SystemExit) as ended:
        main([f"--workdir={place if '://' in place else tmp_path / place}", f"--out={out}"])
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert message in told
    assert told.count("\n") == 1
    assert not out.exists()


def test_only_a_page_is_ever_written_over(tmp_path, capsys):
    workdir = write_run(tmp_path)
    with pytest.raises(SystemExit):
        main([f"--workdir={workdir}", f"--out={workdir / 'config.json'}"])
    assert "expected a file that ends in .html" in capsys.readouterr().err
