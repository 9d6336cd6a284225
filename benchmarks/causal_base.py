"""A small language model and its tokeniser, trained from nothing on real news.

    python benchmarks/causal_base.py DATA FOLDER

A Llama of 1.4 million numbers (4 layers, width 128, 4,096 byte-level BPE tokens) learns the
topics World and Business of AG News; the last 500 rows are kept back to say how good it is. No
topic and no data set that ``causal_federation.py`` gives to clients is among them. DATA holds
``agnews_train15k.csv.gz``, columns text and label. Some minutes of one core.
"""

import argparse
import csv
import gzip
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from polyrank.threads import one_thread

VOCABULARY, WIDTH, LAYERS, LENGTH = 4096, 128, 4, 64
EPOCHS, BATCH, RATE, KEPT_BACK = 4, 32, 3e-3, 500
WORLD, SPORTS, BUSINESS, SCIENCE = range(4)  # AG News' labels


def read(path: Path) -> list[tuple[str, int]]:
    """Return (text, label) rows; a backslash of AG News stands for a line break."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [(text.replace("\\", " ").strip(), int(label)) for text, label in rows]


def make_tokenizer(texts: Sequence[str]) -> Any:
    """Train byte-level BPE, which has a token for every text there is."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<end>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<end>", model_max_length=LENGTH
    )


def make_model() -> Any:
    """Build the model with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            intermediate_size=3 * WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            tie_word_embeddings=True,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
    )


def batches(
    texts: Sequence[str], tokenizer: Any, order: Sequence[int], length: int = LENGTH
) -> Iterator[tuple[dict[str, Any], torch.Tensor]]:
    """Yield the arguments of the model, and the labels that are -100 where nothing is predicted."""
    for start in range(0, len(order), BATCH):
        chosen = [texts[row] for row in order[start : start + BATCH]]
        ids = [[*i, 1][:length] for i in tokenizer(chosen, verbose=False)["input_ids"]]
        given = tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        yield dict(given), given["input_ids"].masked_fill(given["attention_mask"] == 0, -100)


def mean_loss(model: Any, tokenizer: Any, texts: Sequence[str], length: int = LENGTH) -> float:
    """Return transformers' own loss in nats a token, over all tokens that are predicted."""
    total, tokens = 0.0, 0
    model.eval()
    with torch.inference_mode():
        for given, labels in batches(texts, tokenizer, range(len(texts)), length):
            count = int((labels[:, 1:] != -100).sum())
            total += float(model(**given, labels=labels).loss) * count
            tokens += count
    return total / tokens


def make_base(data: Path, folder: Path) -> float:
    """Train, save model and tokeniser, and return the perplexity on the rows kept back."""
    topics = (WORLD, BUSINESS)
    texts = [t for t, label in read(data / "agnews_train15k.csv.gz") if label in topics]
    texts, kept = texts[:-KEPT_BACK], texts[-KEPT_BACK:]
    tokenizer, model = make_tokenizer(texts), make_model()
    steps = EPOCHS * math.ceil(len(texts) / BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    for epoch in range(EPOCHS):
        model.train()
        order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(epoch))
        for given, labels in batches(texts, tokenizer, order.tolist()):
            optimizer.zero_grad()
            model(**given, labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        reached = math.exp(mean_loss(model, tokenizer, kept))
        print(f"base, epoch {epoch + 1} of {EPOCHS}: perplexity {reached:.1f}", flush=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return reached


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    with one_thread():
        make_base(given.data, given.folder)
