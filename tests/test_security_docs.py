"""The page on security names modules, tests and limits that exist."""

import re
from pathlib import Path

import pytest

from perl_jax import endpoint
from perl_jax.processing import chat, decode
from perl_jax.rewards import extract
from tests.fuzz import fuzzing

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:tests|launch)?/?[\w/]+\.(?:py|sh)|tests/\w+/)`", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_what_the_page_names_is_there(name):
    assert (ROOT / name).exists() or (ROOT / "perl_jax" / name).exists()


def test_every_threat_has_a_defence_in_a_module_and_a_test():
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    threats = [row for row in rows if row[0] != "| threat"]
    assert len(threats) >= 20
    for _, defence, tests in threats:
        assert defence
        assert re.findall(r"`tests/[\w/]+\.py`", tests)


def test_the_areas_of_the_threat_model_are_all_there():
    headings = re.findall(r"^## (.*)", PAGE, re.MULTILINE)
    assert headings == [
        "Rows and images", "Model directories", "What a model writes", "Checkpoints and logs",
        "Configurations and secrets", "Network", "Launch machines",
    ]  # fmt: skip
    assert PAGE.count("Not defended:") >= 6


def test_limits_are_those_of_the_code():
    assert f"at most {decode.MAX_PIXELS / 1e6:.0f} megapixels" in PAGE
    assert f"{decode.MAX_BYTES >> 20} MiB of encoded bytes" in PAGE
    assert f"up to {extract.MAX_CHARACTERS:,} characters" in PAGE
    assert f"{chat._MAX_SECONDS:g} seconds" in PAGE
    assert "half a gigabyte" in PAGE
    assert fuzzing._MOST_BYTES == 2**29
    assert endpoint.MOST_TIMEOUTS == 10


def test_the_readme_leads_to_the_page():
    assert "(docs/security.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
