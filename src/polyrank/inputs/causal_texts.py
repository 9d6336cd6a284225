"""Texts for causal language modelling, with the loss where it belongs.

A plain text is learned from its second token on; of a prompt with its completion, the
completion alone; of a conversation, the last answer of the assistant.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polyrank.disk.checkpoint import save_tensors
from polyrank.errors import DataError, SettingsError
from polyrank.inputs.arrays import Encoded
from polyrank.inputs.tokenizing import cached_tokens, token_key
from polyrank.inputs.tokens import TokenExamples


def encode_causal(
    inputs: np.ndarray,
    labels: np.ndarray,
    tokenizer: Any,  # noqa: ANN401 - transformers has no common type for it
    max_length: int,
    pad: int,
    cache: Path | None = None,
) -> Encoded:
    """Tokenise texts, prompts with completions, or conversations.

    What is too long is cut: a text at its end, a prompt at its beginning, and a completion
    only if it is too long by itself.

    Args:
        inputs: (n,) of ``str``, or of dicts with ``prompt`` and ``completion`` or ``messages``.
        labels: (n,) int64, for the partition alone.
        tokenizer: of the model.
        max_length: the most tokens of an example.
        pad: the token that fills a batch up.
        cache: folder where tokens are looked for and left, or None.

    Raises:
        DataError: no texts, a text of fewer than two tokens, a completion without tokens, or a
            conversation that does not end with the assistant.
        SettingsError: conversations, and the tokeniser has no chat template.
    """
    if inputs.dtype != object:
        raise DataError(f"the inputs are {inputs.dtype}: this model takes texts")
    path = cache / f"{token_key(inputs, tokenizer, max_length)}.safetensors" if cache else None
    found = cached_tokens(path, labels, pad)
    if found:
        examples, cut = found
        return Encoded(examples, cut, max_length)
    ids, starts, cut = [], [], 0
    for row, given in enumerate(inputs):
        prompt, completion = _tokens(given, tokenizer, row)
        if len(prompt) + len(completion) < 2 or not completion:
            raise DataError(f"row {row}: nothing to predict in {str(given)[:80]!r}")
        kept = completion[: max_length - 1 if prompt else max_length]
        left = prompt[max(0, len(prompt) - (max_length - len(kept))) :]
        cut += len(kept) + len(left) < len(prompt) + len(completion)
        ids.append([*left, *kept])
        starts.append(len(left))
    examples = TokenExamples.from_lists(ids, labels, pad, starts)
    if path and examples.starts is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {"ids": examples.ids, "offsets": examples.offsets, "starts": examples.starts}
        save_tensors(path, tensors, {"cut": cut})
    return Encoded(examples, cut, max_length)


def _tokens(
    given: Any,  # noqa: ANN401 - a text or a dict of texts
    tokenizer: Any,  # noqa: ANN401
    row: int,
) -> tuple[Sequence[int], Sequence[int]]:
    """Return the tokens that are read only, and those that are also predicted."""
    if isinstance(given, str):
        return [], _ended(tokenizer(given, verbose=False)["input_ids"], tokenizer)
    if "messages" in given:
        return _conversation(given["messages"], tokenizer, row)
    prompt = _without_end(tokenizer(given["prompt"], verbose=False)["input_ids"], tokenizer)
    completion = tokenizer(given["completion"], add_special_tokens=False, verbose=False)
    return prompt, _ended(completion["input_ids"], tokenizer) if given["completion"] else []


def _conversation(
    messages: Sequence[dict[str, str]],
    tokenizer: Any,  # noqa: ANN401
    row: int,
) -> tuple[Sequence[int], Sequence[int]]:
    if not tokenizer.chat_template:
        raise SettingsError(
            "the data are conversations and the model's tokeniser has no chat template: use a "
            "chat model, or data with 'prompt' and 'completion'"
        )
    if messages[-1]["role"] != "assistant":
        raise DataError(
            f"row {row}: expected the last message to be the assistant's, got "
            f"{messages[-1]['role']!r}"
        )

    def templated(part: Sequence[dict[str, str]], *, ask: bool) -> list[int]:
        text = tokenizer.apply_chat_template(part, tokenize=False, add_generation_prompt=ask)
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    whole = templated(messages, ask=False)
    prompt = templated(messages[:-1], ask=True) if len(messages) > 1 else []
    if whole[: len(prompt)] != prompt:
        raise DataError(
            f"row {row}: the chat template writes the conversation without its last answer "
            "differently, so the answer's tokens cannot be told"
        )
    return prompt, whole[len(prompt) :]


def _ended(ids: Sequence[int], tokenizer: Any) -> list[int]:  # noqa: ANN401
    """Add the token that ends a text, where the tokeniser has one and does not itself."""
    end = tokenizer.eos_token_id
    return [*ids] if end is None or (ids and ids[-1] == end) else [*ids, end]


def _without_end(ids: Sequence[int], tokenizer: Any) -> list[int]:  # noqa: ANN401
    end = tokenizer.eos_token_id
    return [*ids[:-1]] if end is not None and ids and ids[-1] == end else [*ids]
