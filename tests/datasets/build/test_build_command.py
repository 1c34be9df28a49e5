"""``perl-jax build``: what it prints, and what it refuses."""

import pytest

from perl_jax.datasets.build.command import main
from perl_jax.datasets.registry import DATA_SETS, data_set
from tests.datasets.mantis_files import write_nlvr2


def test_without_a_name_it_lists_every_data_set_with_its_licence(capsys):
    main([])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(DATA_SETS)
    assert all("(Apache-2.0)" in line for line in lines if line.startswith("mantis_"))


def test_it_ends_with_a_table_of_rows_and_says_where_they_are(tmp_path, capsys):
    source = write_nlvr2(tmp_path / "published", 5)
    flags = [f"--data={source}", f"--out={tmp_path}", "--limit=4", "--splits=train"]
    main(["mantis_nlvr2", *flags])
    out = capsys.readouterr().out
    assert "train 4 4 0 8 0" in " ".join(out.split())
    assert "val" not in out
    assert out.endswith(f"mantis_nlvr2 is in {tmp_path}/mantis_nlvr2/1.0.0\n")


def test_what_is_missing_or_unknown_is_said(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["mantis_nlvr2"])
    assert "--data and --out are required" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"did you mean 'mantis_nlvr2'\?"):
        data_set("mantis_nlvr")
