"""The data sets of bench/quality.py: how large they are, and what TF-IDF makes of them.

    python bench/quality_sets.py [NAME …]

Prints a row of the table in bench/README.md for each set (all, if none is named): its documents and
labels, the share of its most frequent label, the median of its documents' tokens (those of
all-MiniLM-L6-v2, of 2,000 documents) and the accuracy and macro-F1 of TF-IDF with logistic
regression on its test split; C is chosen by macro-F1 on validation.
"""

from __future__ import annotations

import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

from quality_parts.datasets import SETS, splits
from train_parts.encoded import Text

STRENGTHS = (1.0, 10.0, 100.0)
"""Inverse strengths of the regularisation."""
SAMPLE = 2_000


def main(names: Sequence[str]) -> int:
    print(
        "| set | use | documents | labels | most frequent | median tokens | accuracy | macro-F1 |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in names or list(SETS):
        parts = splits(name)
        texts = [text for part in parts.values() for text in part]
        counts = Counter(text.label for text in texts)
        accuracy, macro_f1 = yardstick(parts)
        print(
            f"| `{name}`: {SETS[name].about} | {SETS[name].use} | {len(texts):,} | {len(counts)} "
            f"| {max(counts.values()) / len(texts):.0%} | {median_tokens(texts):,.0f} "
            f"| {accuracy:.3f} | {macro_f1:.3f} |",
            flush=True,
        )
    return 0


def yardstick(parts: Mapping[str, Sequence[Text]]) -> tuple[float, float]:
    """Accuracy and macro-F1 of TF-IDF with logistic regression on the test split."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score

    tfidf = TfidfVectorizer(sublinear_tf=True, min_df=2)
    tfidf.fit([text.text for text in parts["train"]])
    features = {part: tfidf.transform([t.text for t in texts]) for part, texts in parts.items()}
    labels = {part: [text.label for text in texts] for part, texts in parts.items()}
    best, chosen = -1.0, None
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=300, tol=1e-3, random_state=0)
        model.fit(features["train"], labels["train"])
        found = model.predict(features["validation"])
        score = f1_score(labels["validation"], found, average="macro")
        if score > best:
            best, chosen = score, model
    assert chosen is not None
    found = chosen.predict(features["test"])
    return (
        float(accuracy_score(labels["test"], found)),
        float(f1_score(labels["test"], found, average="macro", zero_division=0)),
    )


def median_tokens(texts: Sequence[Text]) -> float:
    from quality_parts.checkpoints import checkpoint
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(checkpoint("all-minilm-l6-v2") / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    step = max(1, len(texts) // SAMPLE)
    found = tokenizer.encode_batch([text.text for text in texts[::step]])
    return statistics.median(len(one.ids) for one in found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
