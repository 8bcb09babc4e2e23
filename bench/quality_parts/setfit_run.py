"""setfit on some texts, in a virtual environment of its own: a line of JSON about it.

    python setfit_run.py TEXTS.json CHECKPOINT TOKENS SEED [PAIRS]

TEXTS.json has `train` and `test`, each a list of [text, label]. All is as setfit's defaults have
it, but the length. With PAIRS so many pairs of each kind are drawn for each text (setfit's
`num_iterations`); without it, as by default, all there are.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path


def main() -> int:
    texts, checkpoint, tokens, seed, *pairs = sys.argv[1:]
    del sys.path[0]  # beside this file is another `datasets`
    import torch

    torch.set_num_threads(1)
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    parts = json.loads(Path(texts).read_text())
    train = Dataset.from_dict(
        {"text": [t for t, _ in parts["train"]], "label": [label for _, label in parts["train"]]}
    )
    started, cpu = time.monotonic(), time.process_time()
    model = SetFitModel.from_pretrained(checkpoint)
    model.model_body.max_seq_length = int(tokens)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            seed=int(seed),
            num_iterations=int(pairs[0]) if pairs else None,
            report_to="none",
            save_strategy="no",
            show_progress_bar=False,
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=train)
        trainer.train()
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    found = model.predict([t for t, _ in parts["test"]], as_numpy=True)
    right = [str(a) == str(b) for a, (_, b) in zip(found, parts["test"], strict=True)]
    told = {"accuracy": sum(right) / len(right), "seconds": seconds, "cpu": cpu}
    print(json.dumps(told), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
