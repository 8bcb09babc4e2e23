"""The functions of this experiment: images, read by Pillow.

Each asks, by name, for just what it needs. `handful check` says at once if anything here does not
fit. The model is `AutoModelForImageClassification`; a load_model here would make another.
"""

import functools

from datasets import Array3D, Features, Value
from PIL import Image, ImageOps
from transformers import AutoImageProcessor

DOCUMENT = "document"  # as in MODEL_INPUT_FILES


@functools.cache
def processor(model_name):
    """Heavy things are made once per process, for each model."""
    return AutoImageProcessor.from_pretrained(model_name, backend="pil")


def get_dataset_features(model_name):
    """The shape of what the model's forward() takes."""
    shape = pixels_of(Image.new("RGB", (64, 64)), model_name).shape
    return Features({"pixel_values": Array3D(shape, "float32"), "labels": Value("int64")})


def encode_data(instance, model_name):
    """One artifact in the shape of the features. The label is added from the ledger."""
    return {"pixel_values": pixels_of(read_document(instance[DOCUMENT]), model_name)}


def read_document(path):
    """The picture, upright, in colours. What raises an error here costs this document only."""
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def pixels_of(image, model_name):
    """The picture as the model was trained to see it: [3, height, width]."""
    return processor(model_name)(image, return_tensors="np")["pixel_values"][0]
