"""The papers' settings in ``examples/papers``: whole, possible, and frank about what differs."""

import re
from pathlib import Path

import numpy as np
import pytest

import polyrank
from polyrank.runs.preparation import first_adapter, prepare
from polyrank.settings.combinations import check_combination
from polyrank.settings.schema import Settings
from polyrank.settings.toml import load_settings
from tests.texts import model_path, needs_demo, write_questions
from tests.written import lines_in

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "examples" / "papers").glob("*.toml"))
ON_TEXTS = [path for path in FILES if load_settings(path).model.kind == "hf"]
ON_IMAGES = [path for path in FILES if path not in ON_TEXTS]
SHAPES = {"mnist": (28, 28), "fashion_mnist": (28, 28), "cifar10": (32, 32, 3)}
EACH = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def with_images(path: Path, folder: Path, *overrides: str) -> Settings:
    """Put two hundred images of noise in the place of the real ones."""
    shape = SHAPES[load_settings(path).data.source.removeprefix("npz:").removesuffix(".npz")]
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (200, *shape), dtype=np.uint8)
    y = np.arange(200) % 10
    np.savez(folder / "data.npz", train_x=x, train_y=y, test_x=x[:20], test_y=y[:20])
    return load_settings(path, [f"data.source=npz:{folder / 'data.npz'}", *overrides])


def with_texts(path: Path, folder: Path) -> Settings:
    """Put 36 questions and a small model in the place of the real ones, and two clients."""
    changes = [
        f"data={{ source = '{write_questions(folder / 'questions.csv')}' }}",
        f"model.name={model_path()}",
        "partition.clients=2",
        "cohort_size=2",
    ]
    return load_settings(path, changes)


@EACH
def test_every_file_says_where_it_is_from_and_what_could_not_be_matched(path):
    text = path.read_text(encoding="utf-8")
    header = " ".join(line.strip("# ") for line in text.splitlines() if line.startswith("#"))
    assert re.search(r"https://arxiv\.org/abs/\d{4}\.\d{5}", header)
    assert "Could not be matched: " in header
    settings = load_settings(path)
    assert settings.name == path.stem
    check_combination(settings)


@pytest.mark.parametrize("path", ON_IMAGES, ids=lambda path: path.stem)
def test_the_papers_settings_on_images_run(path, tmp_path):
    """One short round of all that is there but the images."""
    short = ["rounds=1", "training.epochs=1", "probe.steps=2", "workers=1"]
    run = polyrank.run(with_images(path, tmp_path, *short), out=tmp_path / "run").folder
    assert lines_in(run, "rounds")[-1]["test"]["loss"] > 0


@needs_demo
@pytest.mark.parametrize("path", ON_TEXTS, ids=lambda path: path.stem)
def test_the_papers_settings_on_texts_fit_a_model(path, tmp_path):
    settings = with_texts(path, tmp_path)
    side = prepare(settings, None).server
    start = first_adapter(settings, side.shapes)
    assert {f.rank for f in start.values()} == {settings.ranks.r_max}


def test_rbla_trains_at_the_published_scalings(tmp_path):
    """0.125 at rank 16 and 0.0125 at 160, the server's; 10 slots of the last layer."""
    path = ROOT / "examples" / "papers" / "rbla-mnist-full-head.toml"
    settings = with_images(path, tmp_path, "rounds=1", "training.epochs=1", "workers=1")
    run = polyrank.run(settings, out=tmp_path / "run").folder
    bridge = prepare(settings, None).server.blueprint.build()
    ranks = [x["ranks"] for x in lines_in(run, "clients") if x["event"] == "profile"]
    assert [of["fc1"] for of in ranks] == [of["fc2"] for of in ranks] == [*range(16, 161, 16)]
    assert {of["fc3"] for of in ranks} == {10}
    found = [bridge.scaling["fc1"].training(rank) for rank in (16, 160)]
    assert found == [0.125, 0.0125]
    assert bridge.scaling["fc1"].stored(160) == 0.0125


def test_the_page_of_published_settings_names_every_file():
    page = (ROOT / "docs" / "explanation" / "published-settings.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"`([\w-]+\.toml)`", page)) == [path.name for path in FILES]
