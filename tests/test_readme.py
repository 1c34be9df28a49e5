"""What the README shows runs as it stands, on a tiny model in the place of the published one."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

README = Path(__file__).parent.parent / "README.md"


def test_every_python_example_of_the_readme_runs(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Qwen2.5-VL-7B-Instruct").symlink_to(checkpoint)
    for name in ("a.png", "b.png", "before.png", "after.png"):
        Image.fromarray(np.full((56, 84, 3), 200, np.uint8)).save(tmp_path / name)
    examples = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    assert len(examples) == 7
    namespace: dict = {}
    for example in examples:
        exec(compile(example, str(README), "exec"), namespace)
    printed = capsys.readouterr().out
    assert "<image> <image> The right image shows two dogs." in printed
    assert "images=('b.jpg', 'a.jpg')" in printed
    assert "[False  True False]" in printed
    assert "'unscored': 1" in printed
    assert (tmp_path / "exported" / "model.safetensors").is_file()
