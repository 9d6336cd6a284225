"""A small vision transformer on the digits inside scikit-learn."""

import json

import numpy as np
import pytest
import torch

import polyrank
from polyrank.errors import DataError, SettingsError
from polyrank.inputs.arrays import Examples
from polyrank.inputs.pixels import PixelExamples
from polyrank.runs.export import export
from polyrank.runs.exported_base import load_base
from polyrank.runs.preparation import prepare
from polyrank.runs.trained_model import read_trained
from tests.small import small


def examples(images, size=(2, 2)):
    held = Examples.from_arrays(np.asarray(images, dtype=np.uint8), np.zeros(len(images), int))
    return PixelExamples(held, size, (0.5, 0.0, 0.1), (0.5, 1.0, 0.2))


def test_grey_becomes_three_channels_scaled_and_normalised():
    """255 is 1: (1 - 0.5) / 0.5 = 1, (1 - 0) / 1 = 1, (1 - 0.1) / 0.2 = 4.5."""
    inputs, labels = examples([[[255, 0], [0, 51]]]).batch(torch.tensor([0]))
    pixels = inputs["pixel_values"]
    assert (pixels.shape, labels.tolist()) == ((1, 3, 2, 2), [0])
    assert pixels[0, :, 0, 0].tolist() == pytest.approx([1, 1, 4.5])
    assert pixels[0, :, 1, 1].tolist() == pytest.approx([-0.6, 0.2, 0.5])


def test_images_are_resized_to_what_the_model_takes():
    """Down by two with antialiasing keeps an even image even."""
    inputs, _ = examples(np.full((2, 8, 8, 3), 51), size=(4, 4)).batch(torch.tensor([0, 1]))
    assert inputs["pixel_values"].shape == (2, 3, 4, 4)
    torch.testing.assert_close(inputs["pixel_values"][:, 1], torch.full((2, 4, 4), 0.2))


def test_features_are_no_images():
    held = Examples.from_arrays(np.zeros((3, 5), np.float32), np.zeros(3, int))
    with pytest.raises(DataError, match="1 or 3 channels"):
        PixelExamples(held, (2, 2), (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=16,
        patch_size=4,
    )
    place = tmp_path_factory.mktemp("vit") / "model"
    ViTForImageClassification(config).save_pretrained(place)
    said = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 16, "width": 16},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25],
    }
    (place / "preprocessor_config.json").write_text(json.dumps(said))
    return place


def settings(folder, **more):
    model = {"kind": "hf", "name": str(folder), "task": "image-classification", **more}
    return small(model=model, rounds=1, training={"head_learning_rate": 0.01})


def test_a_vision_transformer_learns_and_is_exported(folder, tmp_path):
    run = polyrank.run(settings(folder), out=tmp_path / "run").folder
    trained = read_trained(run, None)
    assert set(trained.extras) == {"classifier.weight", "classifier.bias"}
    assert "classifier" not in trained.adapter
    inputs, _ = prepare(settings(folder), None).server.rows["test"].examples.batch(torch.arange(5))
    assert inputs["pixel_values"].shape == (5, 3, 16, 16)
    assert float(inputs["pixel_values"].max()) == pytest.approx(2.0, abs=0.1)
    export(run, tmp_path / "out", merge=True)
    with torch.no_grad():
        expected = trained.bridge().model(**inputs).logits
        torch.testing.assert_close(
            load_base(tmp_path / "out", trust=True)(**inputs).logits, expected, rtol=1e-4, atol=1e-4
        )
    kept = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert kept["image_std"] == [0.25, 0.25, 0.25]


def test_images_have_no_max_length(folder):
    with pytest.raises(SettingsError, match="images have no tokens"):
        prepare(settings(folder, max_length=8), None)
