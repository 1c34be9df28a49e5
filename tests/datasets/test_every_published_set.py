"""Every data set that can be built is built from small published files, and is what was read."""

import pytest

from perl_jax.data.sources.tfds import TfdsSource
from perl_jax.datasets import geometry3k, k12_freeform, mantis, mmk12, show_how_to, virl39k
from perl_jax.datasets.build.tfds_builder import BuildOptions, build
from perl_jax.datasets.registry import DATA_SETS
from perl_jax.permutation import lint
from perl_jax.types import Example
from tests.data.sources.parquet_files import digit_png
from tests.data.sources.row_files import write_jsonl
from tests.datasets import mantis_files, published_files
from tests.datasets.published_files import EASYR1, MMK12, VIRL, image
from tests.datasets.strips import write_show_how_to

LETTERS = "\nA. <image>\nB. <image>\nC. <image>"
# Of every subset of Mantis-Instruct the images of a row, a question and its answer.
MANTIS = {
    "nlvr2": (2, mantis_files.NLVR2.format("The left image shows a dog."), "A"),
    "dreamsim": (3, mantis_files.DREAMSIM.format(1, 2, 3), "B"),
    "iconqa": (3, f"Which has the most stars?{LETTERS}", "Answer: B"),
    "imagecode": (3, "<image><image><image> Which one is described by: a dog?", "Answer: Image 2"),
    "birds-to-words": (2, "<image><image> How do the birds differ?", "One is smaller."),
    "spot-the-diff": (2, "<image><image> What changed?", "A car left."),
    "contrastive_caption": (3, "<image><image><image> Caption the second image.", "A dog."),
    "coinstruct": (2, "The first image: <image>\nThe second image: <image>\nWhich is sharper?",
                   "The first image."),
    "multi_vqa": (2, "<image><image> What is in image 1?", "A dog."),
    "lrv_multi": (2, "<image><image> Consider image 2. Is there a dog?", "Yes."),
    "llava_665k_multi": (2, "<image><image> For the left image, what is it?", "A dog."),
    "nextqa": (3, "<image><image><image> What happened?\nA: a fall\nB: a jump", "A: a fall"),
    "star": (3, "<image><image><image> What happened?\nA: a fall\nB: a jump", "B: a jump"),
    "visual_story_telling": (3, "<image><image><image> Tell the story.", "Once there was a dog."),
}  # fmt: skip
# The sets whose small files here can be permuted; all others stay in order, for a named reason.
PERMUTED = {
    "mantis_nlvr2", "mantis_dreamsim", "mantis_iconqa", "mantis_imagecode",
    "mantis_contrastive_caption", "mantis_coinstruct", "mantis_multi_vqa", "mantis_lrv_multi",
    "mantis_llava_665k_multi", "virl39k", "show_how_to",
}  # fmt: skip


def write_mantis(root, subset):
    count, question, answer = MANTIS[subset]
    rows = []
    for number in range(2):
        names = [f"{number}-{k}.png" for k in range(count)]
        members = {name: 10 * number + k for k, name in enumerate(names)}
        mantis_files.write_zip(root, subset, members, f"train_images_{number}.zip", listed=True)
        talk = mantis_files.talk(question, answer)
        rows.append(
            mantis_files.row(f"{subset}-{number}", mantis_files.paths(*names), talk, subset)
        )
    mantis_files.write_parquet(root, subset, rows)
    return root


def write_mmk12(root):
    row = ["a1", image(digit_png(0)), "<image>Find x.", "7", "math"]
    published_files.write_parquet(root / "data" / "train-00000-of-00001.parquet", MMK12, [row])
    return root


def write_mm_eureka(root):
    published_files.write_zip(root / "K12.zip", {"K12/a.png": 1})
    message = '[{"role": "user", "content": "Find x."}]'
    row = {"id": "0", "message": message, "answer": "4", "image_urls": ["K12/a.png"]}
    write_jsonl(root / "dataset.jsonl", [row])
    return root


def write_easyr1(root):
    row = [[image(digit_png(3))], "<image>Find x.", "$\\frac{1}{2}$"]
    for name in ("train-00000-of-00001", "train_mini", "train"):
        published_files.write_parquet(root / "data" / f"{name}.parquet", EASYR1, [row])
    return root


def write_virl39k(root):
    published_files.write_zip(root / "images.zip", {f"images/{n}.png": n for n in range(3)})
    paths = [f"images/{n}.png" for n in range(3)]
    row = ["\\boxed{B}", 0.5, 0.25, f"Which is it?{LETTERS}", paths, "STEM", "Processed", "q-1"]
    published_files.write_parquet(root / "39Krelease.parquet", VIRL, [row])
    return root


def write(name, root):
    """Small published files of a data set, and the split that they are of."""
    if name.startswith("mantis_"):
        subset = next(s for s in MANTIS if s.replace("-", "_") == name.removeprefix("mantis_"))
        return write_mantis(root, subset), "train"
    if name == "show_how_to":
        write_show_how_to(root / "ShowHowToTrain", [4, 5, 6, 5])
        return root, "train"
    writers = {
        "mmk12": write_mmk12, "mm_eureka": write_mm_eureka, "k12_freeform": write_easyr1,
        "geometry3k": write_easyr1, "virl39k": write_virl39k,
    }  # fmt: skip
    return writers[name](root), "train"


def test_every_published_set_has_a_name_of_its_own():
    modules = (geometry3k, k12_freeform, mantis, mmk12, show_how_to, virl39k)
    names = [data_set.name for module in modules for data_set in module.DATA_SETS]
    assert sorted(names) == sorted(DATA_SETS)


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_built_set_is_what_its_published_files_say(name, tmp_path):
    (tmp_path / "published").mkdir()
    root, split = write(name, tmp_path / "published")
    data_set = DATA_SETS[name]
    rows = list(data_set.splits[split](root))
    assert rows
    assert all(isinstance(row, Example) for row in rows), rows
    assert {row.source for row in rows} == {data_set.source}

    options = BuildOptions(splits=(split,), show_progress=False)
    report = build(data_set, root, tmp_path / "data", options)
    built = TfdsSource(report.directory, split=split)
    read = [built[n] for n in range(len(built))]
    assert read == rows
    assert all(type(picture) is bytes for row in read for picture in row.images)

    found = lint(read)
    assert found.total == len(rows)
    assert found.permuted + sum(found.reasons.values()) == found.total
    assert (found.permuted > 0) == (name in PERMUTED), found.reasons
