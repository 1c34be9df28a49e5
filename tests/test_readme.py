"""What the README shows runs as it stands, on a tiny model in the place of the published one."""

import numpy as np
from PIL import Image

from tests import pages


def test_every_python_example_of_the_readme_runs(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Qwen2.5-VL-7B-Instruct").symlink_to(checkpoint)
    for name in ("a.png", "b.png", "before.png", "after.png"):
        Image.fromarray(np.full((56, 84, 3), 200, np.uint8)).save(tmp_path / name)
    assert len(pages.blocks("README.md")) == 7
    pages.run("README.md")
    printed = capsys.readouterr().out
    assert "<image> <image> The right image shows two dogs." in printed
    assert "images=('b.jpg', 'a.jpg')" in printed
    assert "[False  True False]" in printed
    assert "'unscored': 1" in printed
    assert (tmp_path / "exported" / "model.safetensors").is_file()
