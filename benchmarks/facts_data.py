"""Facts to store: triples of subject, relation and object, and a small decoder to store them in.

A subject is a given name and a family name, an object one of 64 words. Objects are drawn at
random, so that a fact is 6 bits that follow from nothing else: what was not stored is guessed
right once in 64 times. The decoder, a Llama of about 100,000 numbers, is trained from nothing on
public facts of subjects that no client has: it knows all words and how a question is read, and
of a client's facts nothing.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

NAMES, RELATIONS, OBJECTS = 64, 8, 64
PUBLIC = 2048  # facts that the base is trained on
WIDTH, LAYERS, HEADS = 64, 2, 4
EPOCHS, BATCH, RATE = 60, 64, 3e-3
BITS = np.log2(OBJECTS)  # of a fact


class Fact(NamedTuple):
    """A subject of two names, a relation, and the object that nobody can guess."""

    given: int
    family: int
    relation: int
    object: int

    @property
    def prompt(self) -> str:
        """The question: two names and a relation."""
        return f"given{self.given} family{self.family} relation{self.relation}"

    @property
    def answer(self) -> str:
        """The object, one token."""
        return f"object{self.object}"


def draw_facts(counts: Sequence[int], seed: int) -> tuple[list[Fact], list[list[Fact]]]:
    """Draw public facts, which no seed changes, and lists of the wanted lengths.

    No two facts of all lists have the same subject.

    Args:
        counts: facts of each client.
        seed: of the clients' facts.

    Raises:
        ValueError: there are not so many subjects.
    """
    subjects, public = NAMES * NAMES, np.random.default_rng(0)
    if sum(counts) > subjects - PUBLIC:
        raise ValueError(
            f"expected at most {subjects - PUBLIC} facts of all clients, got {sum(counts)}"
        )
    order = public.permutation(subjects)
    known = _facts(order[:PUBLIC], public)
    own = np.random.default_rng([1, seed])
    rest = own.permutation(order[PUBLIC:])
    ends = np.cumsum([0, *counts])
    return known, [_facts(rest[a:b], own) for a, b in pairwise(ends)]


def _facts(subjects: np.ndarray, draw: np.random.Generator) -> list[Fact]:
    relations = draw.integers(RELATIONS, size=len(subjects))
    objects = draw.integers(OBJECTS, size=len(subjects))
    names = (divmod(int(subject), NAMES) for subject in subjects)
    return [
        Fact(given, family, int(relation), int(one))
        for (given, family), relation, one in zip(names, relations, objects, strict=True)
    ]


def write_rows(path: Path, clients: Iterable[tuple[str, Sequence[Fact], int]]) -> None:
    """Write a file of (client, facts, copies of each) that ``polyrank`` reads."""
    rows = (
        {"prompt": fact.prompt, "completion": f" {fact.answer}", "client": client}
        for client, facts, copies in clients
        for fact in facts
        for _ in range(copies)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_tokenizer() -> Any:
    """Return a tokeniser of one token a word; it ends no text: a loss is of objects only."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    kinds = {"given": NAMES, "family": NAMES, "relation": RELATIONS, "object": OBJECTS}
    words = ["<pad>", "<unk>", *(f"{kind}{k}" for kind, n in kinds.items() for k in range(n))]
    raw = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, "<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", unk_token="<unk>")


def make_model(width: int = WIDTH) -> Any:
    """Build the decoder with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(make_tokenizer()),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            max_position_embeddings=8,
            tie_word_embeddings=False,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


def encoded(facts: Sequence[Fact], tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the tokens of questions (n, 3) and of objects (n,)."""
    texts = [f"{fact.prompt} {fact.answer}" for fact in facts]
    ids = torch.tensor(tokenizer(texts)["input_ids"])
    return ids[:, :3], ids[:, 3]


def recalled(model: Any, facts: Sequence[Fact], tokenizer: Any) -> int:
    """Count the facts whose object is the likeliest next token of all."""
    questions, objects = encoded(facts, tokenizer)
    model.eval()
    with torch.inference_mode():
        said = [model(part).logits[:, -1].argmax(1) for part in questions.split(256)]
    return int((torch.cat(said) == objects).sum())


def batches(rows: int, epochs: int) -> Iterator[torch.Tensor]:
    """Yield row numbers in fresh random order for every epoch."""
    for epoch in range(epochs):
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(epoch))
        yield from order.split(BATCH)


def make_base(folder: Path, width: int = WIDTH) -> float:
    """Train the decoder on public facts, save it, and return the share that it recalls."""
    facts, _ = draw_facts([], 0)
    tokenizer, model = make_tokenizer(), make_model(width)
    questions, objects = encoded(facts, tokenizer)
    steps = EPOCHS * -(-len(facts) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    model.train()
    for rows in batches(len(facts), EPOCHS):
        optimizer.zero_grad()
        logits = model(questions[rows]).logits[:, -1]
        torch.nn.functional.cross_entropy(logits, objects[rows]).backward()
        optimizer.step()
        schedule.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return recalled(model, facts, tokenizer) / len(facts)
