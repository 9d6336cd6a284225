"""Tokenise texts once, cut them at a length that is told, and keep the result on disk."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polyrank.disk.checkpoint import load_tensors, save_tensors
from polyrank.errors import DataError, RunFolderError
from polyrank.inputs.arrays import Encoded
from polyrank.inputs.tokens import TokenExamples


def encode_texts(
    texts: np.ndarray,
    labels: np.ndarray,
    tokenizer: Any,  # noqa: ANN401 - transformers has no common type for it
    max_length: int,
    pad: int,
    cache: Path | None = None,
) -> Encoded:
    """Tokenise texts, the special tokens of the model included.

    Args:
        texts: (n,) of ``str``.
        labels: (n,) int64.
        tokenizer: of the model, from ``AutoTokenizer``.
        max_length: the most tokens of a text that are kept; what is longer loses its end.
        pad: the token that fills a batch up.
        cache: folder where the tokens of the same texts, tokeniser and length are looked for,
            and are left; None to keep nothing.

    Raises:
        DataError: the inputs are not texts, or a text gives no token at all.
    """
    if texts.dtype != object:
        raise DataError(f"the inputs are {texts.dtype}: this model takes texts")
    if len(texts) and not isinstance(texts[0], str):
        raise DataError(
            f"the inputs have {' and '.join(texts[0])}: this task takes single texts; "
            "model.task = 'causal-lm' takes these"
        )
    path = cache / f"{token_key(texts, tokenizer, max_length)}.safetensors" if cache else None
    found = cached_tokens(path, labels, pad)
    if found:
        examples, cut = found
        return Encoded(examples, cut, max_length)
    ids, cut = _tokenized(list(texts), tokenizer, max_length)
    empty = next((row for row, tokens in enumerate(ids) if not len(tokens)), None)
    if empty is not None:
        raise DataError(f"row {empty}: the tokeniser makes no token of the text {texts[empty]!r}")
    examples = TokenExamples.from_lists(ids, labels, pad)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(path, {"ids": examples.ids, "offsets": examples.offsets}, {"cut": cut})
    return Encoded(examples, cut, max_length)


def _tokenized(
    texts: list[str],
    tokenizer: Any,  # noqa: ANN401
    max_length: int,
) -> tuple[list[Sequence[int]], int]:
    """Return the tokens of each text, and how many texts lost their end.

    Only texts that are too long are tokenised a second time, by the tokeniser's own rule for
    cutting, which keeps the special token at the end.
    """
    if not texts:
        return [], 0
    ids = list(tokenizer(texts, verbose=False)["input_ids"])
    long = [row for row, tokens in enumerate(ids) if len(tokens) > max_length]
    if long:
        again = tokenizer([texts[row] for row in long], truncation=True, max_length=max_length)
        for row, tokens in zip(long, again["input_ids"], strict=True):
            ids[row] = tokens
    return ids, len(long)


def token_key(texts: np.ndarray, tokenizer: Any, max_length: int) -> str:  # noqa: ANN401
    """Hash all that the tokens depend on."""
    digest = hashlib.blake2b(digest_size=16)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rule = json.loads(backend.to_str()) if backend else dict(tokenizer.get_vocab())
    for changed_by_use in ("truncation", "padding"):
        rule.pop(changed_by_use, None)
    rule = json.dumps(rule, sort_keys=True)
    for part in (type(tokenizer).__name__, rule, str(max_length), json.dumps(texts.tolist())):
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()


def cached_tokens(
    path: Path | None, labels: np.ndarray, pad: int
) -> tuple[TokenExamples, int] | None:
    """Read tokens from the cache, and how many texts were cut; None if missing or damaged."""
    if path is None or not path.exists():
        return None
    try:
        tensors, header = load_tensors(path)
    except RunFolderError:  # cut short by a crash of the machine: made anew
        return None
    labelled = torch.from_numpy(labels.astype(np.int64, copy=False))
    examples = TokenExamples(
        tensors["ids"], tensors["offsets"], labelled, pad, tensors.get("starts")
    )
    return examples, int(header["cut"])
