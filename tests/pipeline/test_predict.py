"""`handful predict` and `handful.Classifier` on documents that nobody has labelled."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from handful import Classifier, Prediction
from handful.errors import DataError, UserError
from handful.files.checksums import seal
from handful.layout import FINAL_RECORD
from tests.support import tiny
from tests.support.servers import S3Server
from tests.support.tiny import Tiny

FUNCTIONS = tiny.FUNCTIONS.replace(
    """
    label = json.loads(instance["label.json"].read_text())["label"]
    features = {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": label2id[label]}
""",
    """
    features = {"input_ids": ids, "attention_mask": [1] * len(ids)}
    label = json.loads(instance["label.json"].read_text())["label"]
    if label is not None:
        features["labels"] = label2id[label]
""",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A tiny experiment that stands; its functions can do without the label."""
    assert FUNCTIONS != tiny.FUNCTIONS
    made = tiny.make(tmp_path_factory.mktemp("predict"))
    (made.experiment / "functions.py").write_text(FUNCTIONS)
    done = made.handful("run", "--until", "test")
    assert done.returncode == 0, done.stderr
    return made


def told_by_the_test_step(made: Tiny) -> dict[str, tuple[str, dict[str, float]]]:
    """Artifact id → prediction and calibrated probabilities, from what the test step wrote."""
    results = made.store / "results" / "full_dataset"
    (path,) = results.glob("evaluation/model/seed-*/predictions.parquet")
    told = json.loads((path.parent / "metrics.json").read_text())
    temperature = told["calibration"]["temperature"]
    assert temperature != 1.0
    labels = json.loads((made.store / "data/prepared_data/full_dataset/label2id.json").read_text())
    rows = pl.read_parquet(path).iter_rows(named=True)
    return {
        row["artifact_id"]: (
            row["prediction"],
            dict(zip(labels, softmax(np.array(row["logits"]) / temperature), strict=True)),
        )
        for row in rows
    }


def softmax(logits: np.ndarray) -> list[float]:
    shares = np.exp(logits - logits.max())
    found: list[float] = (shares / shares.sum()).tolist()
    return found


@pytest.fixture(scope="module")
def classifier(trained: Tiny) -> Iterator[Classifier]:
    with Classifier.load(trained.experiment) as loaded:
        yield loaded


@pytest.fixture
def copy(trained: Tiny, tmp_path: Path) -> Tiny:
    """The trained experiment, to be changed; its store is found by the same name."""
    return Tiny(Path(shutil.copytree(trained.root, tmp_path / "copy")))


@pytest.fixture
def documents(trained: Tiny, tmp_path: Path) -> Path:
    """Three good documents, to be put among bad ones."""
    for number in range(3):
        name = f"artifact-{number:04d}"
        shutil.copytree(trained.files / name, tmp_path / "documents" / name)
    return tmp_path / "documents"


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def by_id(found: list[Prediction]) -> dict[str, Prediction]:
    assert len({one.artifact_id for one in found}) == len(found)
    return {one.artifact_id: one for one in found}


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_the_predictions_are_those_of_the_test_step(trained: Tiny) -> None:
    before = contents(trained.files)
    done = trained.handful("predict", str(trained.files), "--all")
    assert done.returncode == 0, done.stderr
    found = {str(line["artifact_id"]): line for line in lines(done.stdout)}
    assert list(found) == sorted(path.name for path in trained.files.iterdir())
    expected = told_by_the_test_step(trained)
    assert len(expected) >= 10
    for one, (label, probabilities) in expected.items():
        assert found[one]["label"] == label
        assert found[one]["probabilities"] == pytest.approx(probabilities, abs=1e-5)
        assert found[one]["probability"] == pytest.approx(probabilities[label], abs=1e-5)
    # Production is only read.
    assert contents(trained.files) == before


IGNORED = ("--set", "prepare.IGNORED_LABELS=letter")


def labels_told(made: Tiny, *more: str) -> set[str]:
    """The labels that `predict --all` gives a document a probability for."""
    done = made.handful("predict", str(made.files / "artifact-0000"), "--all", *more)
    assert done.returncode == 0, done.stderr
    (labels,) = {tuple(line["probabilities"]) for line in lines(done.stdout)}  # type: ignore[arg-type]
    return set(labels)


@pytest.mark.slow
def test_a_trained_model_keeps_its_own_labels_when_one_goes(copy: Tiny) -> None:
    path = copy.store / "data/prepared_data/full_dataset/label2id.json"
    before = json.loads(path.read_text())
    done = copy.handful("prepare", *IGNORED)
    assert done.returncode == 0, done.stderr
    assert "no artifact has letter any more" in done.stdout
    assert "letter" in before.keys() - json.loads(path.read_text()).keys()
    assert labels_told(copy, *IGNORED) == set(before)


@pytest.mark.slow
def test_a_label_that_is_gone_is_no_output_of_the_next_training(copy: Tiny) -> None:
    done = copy.handful("run", "--until", "report", *IGNORED)
    assert done.returncode == 0, done.stderr
    labels = labels_told(copy, *IGNORED)
    assert "letter" not in labels
    assert len(labels) >= 2
    results = copy.store / "results/full_dataset"
    (matrix,) = results.glob("evaluation/model/seed-*/confusion_matrix.csv")
    assert set(matrix.read_text().splitlines()[0].split(",")[1:]) == labels
    (measured,) = results.glob("evaluation/model/seed-*/metrics.json")
    assert set(json.loads(measured.read_text())["per_label"]) == labels
    back = copy.handful("run", "--until", "train")
    assert back.returncode == 0, back.stderr
    assert labels_told(copy) == labels | {"letter"}


@pytest.mark.slow
def test_one_folder_several_and_strings(classifier: Classifier, documents: Path) -> None:
    one = classifier.predict(documents / "artifact-0001")
    assert [found.artifact_id for found in one] == ["artifact-0001"]
    assert one[0].error is None
    assert one[0].label in classifier.labels
    assert one[0].probabilities is not None
    assert sum(one[0].probabilities.values()) == pytest.approx(1.0)
    assert one[0].probability == max(one[0].probabilities.values())
    both = classifier.predict([str(documents / "artifact-0002"), documents / "artifact-0000"])
    assert [found.artifact_id for found in both] == ["artifact-0002", "artifact-0000"]


def test_a_bad_document_costs_that_document(classifier: Classifier, documents: Path) -> None:
    for name, content in (("bytes", b"\xff\xfe"), ("large", b"word " * 2_100_000)):
        (documents / name).mkdir()
        (documents / name / "text.txt").write_bytes(content)
    (documents / "empty").mkdir()
    (documents / "linked").symlink_to("/usr/lib")
    (documents / "line\nbreak\x1b[31m").mkdir()
    # A label that lies there is not looked at.
    (documents / "artifact-0000" / "label.json").write_text('{"label": "letter"}')
    found = by_id(classifier.predict(documents))
    good = {one for one in found if found[one].error is None}
    assert good == {"artifact-0000", "artifact-0001", "artifact-0002"}
    expected = by_id(classifier.predict([documents / one for one in sorted(good)]))
    for one in good:
        assert found[one].label == expected[one].label
        assert found[one].probability == pytest.approx(expected[one].probability, abs=1e-6)
    errors = {one: found[one].error or "" for one in found if one not in good}
    assert "functions.py" in errors["bytes"]
    assert "in encode_data: UnicodeDecodeError" in errors["bytes"]
    assert "MAX_INSTANCE_BYTES" in errors["large"]
    assert errors["empty"] == errors["linked"] == "missing input: text.txt"
    (hostile,) = (one for one in errors if one.startswith("line"))
    assert hostile.isprintable()
    assert "control character" in errors[hostile]


def test_an_id_stands_for_one_document(classifier: Classifier, documents: Path) -> None:
    place = documents / "artifact-0000"
    first, second = classifier.predict([place, place])
    assert first.error is None
    assert second.error is not None
    assert "came before" in second.error


@pytest.mark.slow
def test_a_worker_that_dies_or_hangs_costs_the_document_in_its_hands(
    copy: Tiny, documents: Path
) -> None:
    functions = FUNCTIONS.replace(
        "    words = instance",
        "    import os, time\n"
        "    text = instance['text.txt'].read_text()\n"
        "    if text == 'die':\n        os._exit(3)\n"
        "    if text == 'hang':\n        time.sleep(600)\n"
        "    if text == 'unknown':\n        return {'input_ids': [9999], 'attention_mask': [1]}\n"
        "    if text == 'nothing':\n        return {'input_ids': [None], 'attention_mask': [1]}\n"
        "    if text == 'more':\n        return {'input_ids': [1], 'mask': [1]}\n"
        "    if text == 'none':\n        return None\n"
        "    words = instance",
    )
    (copy.experiment / "functions.py").write_text(functions)
    text = (copy.experiment / "settings.ini").read_text()
    (copy.experiment / "settings.ini").write_text(
        text.replace("[prepare]", "[prepare]\nENCODE_TIMEOUT = 2s")
    )
    for word in ("die", "hang", "unknown", "nothing", "more", "none"):
        (documents / word).mkdir()
        (documents / word / "text.txt").write_text(word)
    with Classifier.load(copy.experiment) as classifier:
        assert "encode_data changed since the training" in classifier.warnings()[0]
        classifier.predict(documents / "artifact-0000")  # from now on tokenizers are warm
        found = by_id(classifier.predict(documents))
    errors = {one: found[one].error for one in found}
    assert [one for one in errors if errors[one] is None] == [
        *("artifact-0000", "artifact-0001", "artifact-0002")
    ]
    assert "status 3" in str(errors["die"])
    assert "ENCODE_TIMEOUT" in str(errors["hang"])
    assert "input_ids go from" in str(errors["unknown"])
    assert "field input_ids" in str(errors["nothing"])
    assert "missing field attention_mask, extra field mask" in str(errors["more"])
    assert "returned None" in str(errors["none"])


@pytest.mark.slow
def test_functions_that_insist_on_a_label_are_told_where(copy: Tiny, documents: Path) -> None:
    (copy.experiment / "functions.py").write_text(tiny.FUNCTIONS)
    number = next(
        number
        for number, line in enumerate(tiny.FUNCTIONS.splitlines(), 1)
        if "label2id[label]" in line
    )
    done = copy.handful("predict", str(documents))
    assert done.returncode == 2
    assert f"functions.py:{number} in encode_data: it needs the document's label" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_a_file_goes_on_where_it_was_cut(trained: Tiny, documents: Path, tmp_path: Path) -> None:
    output = tmp_path / "predictions.jsonl"
    words = (str(documents), "--output", str(output))
    done = trained.handful("predict", *words)
    assert done.returncode == 0, done.stderr
    whole = output.read_text()
    assert [line["artifact_id"] for line in lines(whole)] == sorted(
        path.name for path in documents.iterdir()
    )
    # Cut in the middle of the second line; the first is marked, to see that it stays.
    first, second, _ = whole.splitlines()
    marked = first.replace('"label"', '"kept": true, "label"')
    output.write_text(f"{marked}\n{second[:20]}")
    done = trained.handful("predict", *words)
    assert done.returncode == 0, done.stderr
    assert "1 documents are in" in done.stdout
    again = lines(output.read_text())
    assert again[0]["kept"] is True
    assert [line["artifact_id"] for line in again] == [f"artifact-000{n}" for n in range(3)]
    for now, before in zip(again, lines(whole), strict=True):
        assert now["label"] == before["label"]
        assert now["probability"] == pytest.approx(before["probability"], abs=1e-6)
    # Another way of predicting must not be mixed in, nor a stranger's file be added to.
    other = trained.handful("predict", *words, "--all")
    assert other.returncode == 2
    assert "its lines were predicted otherwise: --all changed" in other.stderr
    strange = tmp_path / "strange.jsonl"
    strange.write_text("my own notes\n")
    other = trained.handful("predict", str(documents), "--output", str(strange))
    assert other.returncode == 2
    assert strange.read_text() == "my own notes\n"


def test_paths_that_hold_nothing(classifier: Classifier, trained: Tiny, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        classifier.predict([trained.files, tmp_path / "nowhere"])
    with pytest.raises(DataError, match="there are no documents"):
        classifier.predict(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        classifier.predict(tmp_path / "file")
    with pytest.raises(UserError, match="seed 7 is not trained"):
        Classifier.load(trained.experiment, seed=7)
    with pytest.raises(DataError, match="holds neither"):
        Classifier.load(tmp_path)


@pytest.mark.slow
def test_a_final_folder_with_its_functions_and_a_temperature(
    trained: Tiny, classifier: Classifier, documents: Path, tmp_path: Path
) -> None:
    (final,) = (trained.store / "results" / "full_dataset").glob("models/*/seed-*/final")
    with pytest.raises(DataError, match="holds no functions"):
        Classifier.load(final)
    warm = Path(shutil.copytree(final, tmp_path / "final"))
    record = json.loads((warm / FINAL_RECORD).read_text())
    (warm / FINAL_RECORD).write_text(json.dumps({**record, "temperature": 2.0}))
    with Classifier.load(warm, experiment=trained.experiment) as loaded:
        assert loaded.temperature == 2.0
        calibrated = loaded.predict(documents)
    for one, plain in zip(calibrated, classifier.predict(documents), strict=True):
        assert one.probabilities is not None
        assert plain.probabilities is not None
        # softmax(z / 2) from softmax(z / T)
        shares = np.array(list(plain.probabilities.values())) ** (classifier.temperature / 2)
        np.testing.assert_allclose(
            list(one.probabilities.values()), shares / shares.sum(), atol=1e-6
        )
    (warm / FINAL_RECORD).write_text(json.dumps({**record, "temperature": 0}))
    with pytest.raises(DataError, match="no positive number"):
        Classifier.load(warm, experiment=trained.experiment)


@pytest.mark.slow
def test_a_prefix_of_a_bucket(
    copy: Tiny, classifier: Classifier, s3_server: S3Server, documents: Path
) -> None:
    bucket, _, prefix = s3_server.place("handful-production")[5:].partition("/")
    client = s3_server.client()
    for path in documents.rglob("*.txt"):
        key = f"{prefix}/{path.relative_to(documents).as_posix()}"
        client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
    client.put_object(Bucket=bucket, Key=f"{prefix}/new\nline/text.txt", Body=b"word")
    client.put_object(Bucket=bucket, Key=f"{prefix}/other/else.txt", Body=b"word")
    text = (copy.experiment / "settings.ini").read_text()
    endpoint = f"[production]\nS3_ENDPOINT_URL = {s3_server.endpoint_url}"
    (copy.experiment / "settings.ini").write_text(text.replace("[production]", endpoint))
    with Classifier.load(copy.experiment) as far:
        found = by_id(far.predict(f"s3://{bucket}/{prefix}"))
        (alone,) = far.predict(f"s3://{bucket}/{prefix}/artifact-0001")
    for one in classifier.predict(documents):
        assert found[one.artifact_id].label == one.label
        assert found[one.artifact_id].probability == pytest.approx(one.probability, abs=1e-6)
    assert alone.artifact_id == "artifact-0001"
    assert alone.label == found["artifact-0001"].label
    assert found["other"].error == "missing input: text.txt"
    assert "control character" in str(found["new\\nline"].error)


@pytest.mark.slow
def test_in_a_fresh_process_and_no_worker_outlives_it(trained: Tiny, documents: Path) -> None:
    script = (
        "import sys, handful\n"
        "assert 'torch' not in sys.modules and 'polars' not in sys.modules\n"
        "classifier = handful.Classifier.load(sys.argv[1])\n"
        "for one in classifier.predict(sys.argv[2]): print(one.artifact_id, one.label)\n"
        "import psutil\n"
        "print(*[child.pid for child in psutil.Process().children(recursive=True)])\n"
        # Neither closed nor used as a context: what it started must end with it all the same.
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(trained.experiment), str(documents)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *told, pids = done.stdout.splitlines()
    assert [line.split()[0] for line in told] == [f"artifact-000{n}" for n in range(3)]
    assert pids
    import psutil

    _, alive = psutil.wait_procs(
        [psutil.Process(int(pid)) for pid in pids.split() if psutil.pid_exists(int(pid))], 10
    )
    assert not alive


@pytest.mark.slow
def test_the_examples_of_the_documentation_run(
    trained: Tiny, documents: Path, tmp_path: Path
) -> None:
    page = Path(__file__).parents[2] / "docs" / "predict.md"
    (tmp_path / "new-documents").symlink_to(documents)
    blocks = re.findall(r"```(sh|python)\n(.*?)```", page.read_text(), re.DOTALL)
    assert [kind for kind, _ in blocks] == ["sh", "python", "sh"]
    for kind, text in blocks:
        code = text.replace("EXP-0001", str(trained.experiment))
        shell = [tiny.HANDFUL, *code.split()[1:]]
        command = shell if kind == "sh" else [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        if kind == "python":
            assert done.stdout.count("artifact-") == 3
    told = lines((tmp_path / "predictions.jsonl").read_text())
    assert len(told) == 3
    assert (tmp_path / "model.onnx").stat().st_size > 10_000


@pytest.mark.slow
def test_the_onnx_file_says_what_the_model_says(
    trained: Tiny, classifier: Classifier, tmp_path: Path
) -> None:
    import onnxruntime

    path = tmp_path / "model.onnx"
    done = trained.handful("export", "--onnx", "--output", str(path))
    assert done.returncode == 0, done.stderr
    assert "greatest difference of a logit" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map
    label2id = json.loads(told["label2id"])
    assert tuple(label2id) == classifier.labels
    assert float(told["temperature"]) == classifier.temperature != 1.0
    assert {i.name for i in session.get_inputs()} == {"input_ids", "attention_mask"}
    # Another batch size and length than any that it was traced or checked with.
    words = (trained.root / "model" / "vocab.txt").read_text().split()
    known = {word: number for number, word in enumerate(words)}
    folders = sorted(trained.files.iterdir())[:5]
    rows = [[known.get(w, 1) for w in (f / "text.txt").read_text().split()] for f in folders]
    longest = max(map(len, rows))
    ids = np.array([row + [0] * (longest - len(row)) for row in rows])
    mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    (logits,) = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
    shares = [softmax(row / classifier.temperature) for row in logits]
    expected = [list((one.probabilities or {}).values()) for one in classifier.predict(folders)]
    np.testing.assert_allclose(shares, expected, atol=1e-5)


@pytest.mark.slow
def test_a_model_that_depends_on_chance_gives_no_onnx_file(copy: Tiny, tmp_path: Path) -> None:
    own = (
        "\n\ndef load_model(model_name, label2id, id2label):\n"
        "    import torch\n"
        "    from transformers import BertForSequenceClassification\n\n"
        "    class Moody(BertForSequenceClassification):\n"
        "        def forward(self, **given):\n"
        "            found = super().forward(**given)\n"
        "            found.logits = found.logits + torch.rand_like(found.logits)\n"
        "            return found\n\n"
        "    return Moody.from_pretrained(\n"
        "        model_name, num_labels=len(label2id), ignore_mismatched_sizes=True\n    )\n"
    )
    (copy.experiment / "functions.py").write_text(FUNCTIONS + own)
    path = tmp_path / "model.onnx"
    done = copy.handful("export", "--onnx", "--output", str(path))
    assert done.returncode == 1, done.stderr
    assert "no file was written" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["copy"]


def best_probe(made: Tiny) -> Path:
    """The probe's final/, after its figure on validation was made the best of all."""
    results = made.store / "results" / "full_dataset"
    key = "evaluation/baseline-probe--model/seed-0/metrics.json"
    told = json.loads((results / key).read_text())
    told["validation"]["macro_f1"] = 2.0
    (results / key).write_text(json.dumps(told))
    tested = json.loads((results / "tested.json").read_text())
    del tested["files"][f"results/full_dataset/{key}"], tested["checksum"]
    (results / "tested.json").write_bytes(seal(json.dumps(tested).encode()))
    return results / "models/model/probe/final"


def test_a_probe_predicts_as_any_model_does(
    copy: Tiny, classifier: Classifier, documents: Path, tmp_path: Path
) -> None:
    final = best_probe(copy)
    plain = classifier.predict(documents)
    record = json.loads((final / FINAL_RECORD).read_text())
    with Classifier.load(copy.experiment) as loaded:
        assert loaded.chosen.name == "baseline-probe--model", "it is better on validation"
        assert loaded.temperature == record["temperature"]
        found = loaded.predict(documents)
    assert [one.artifact_id for one in found] == [one.artifact_id for one in plain]
    assert all(one.label for one in found)
    with Classifier.load(final, experiment=copy.experiment) as opened:
        assert opened.chosen.probe
        assert opened.predict(documents) == found
    done = copy.handful("predict", str(documents), "--model", "baseline-probe--model")
    assert done.returncode == 0, done.stderr
    assert [line["probability"] for line in lines(done.stdout)] == [
        one.probability for one in found
    ]
    done = copy.handful("status")
    assert done.returncode == 0, done.stderr
    assert re.search(r"test .* up to date", done.stdout)
    (final / FINAL_RECORD).unlink()
    done = copy.handful("status")
    assert "models/model/probe/final/handful.json is gone from the store" in done.stdout
    with Classifier.load(copy.experiment) as loaded:
        assert not loaded.chosen.probe, "half a probe is none"


@pytest.mark.slow
def test_a_probe_leaves_as_an_onnx_file(copy: Tiny, tmp_path: Path) -> None:
    import onnxruntime

    record = json.loads((best_probe(copy) / FINAL_RECORD).read_text())
    path = tmp_path / "model.onnx"
    done = copy.handful("export", "--onnx", "--output", str(path))
    assert done.returncode == 0, done.stderr
    assert "baseline-probe--model" in done.stdout
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    told = session.get_modelmeta().custom_metadata_map["temperature"]
    assert float(told) == record["temperature"]
