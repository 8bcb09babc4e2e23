"""settings.ini: the only room that reads INI."""

from __future__ import annotations

from handful.settings.counted import (
    READ_BY_FUNCTIONS,
    counts_no_more,
    default_of,
    list_counted_model_settings,
    list_counted_settings,
    list_settings_read_beside,
)
from handful.settings.declare import keys_of
from handful.settings.describe import KeyDescription, describe_settings, settings_markdown
from handful.settings.public import public_text
from handful.settings.reading.file import NOT_FOR_ONE_MODEL, read_settings
from handful.settings.sections.all import SECTIONS, Settings
from handful.settings.sections.models import TrainSection
from handful.settings.travel import travelling_text, variables_of
from handful.settings.travel_before import text_before
from handful.settings.usage import ALL_OF_USER, EVERYTHING, Usage
from handful.settings.values.types import FrozenMap, Limit, Range, Steps, User

__all__ = [
    "ALL_OF_USER",
    "EVERYTHING",
    "NOT_FOR_ONE_MODEL",
    "READ_BY_FUNCTIONS",
    "SECTIONS",
    "FrozenMap",
    "KeyDescription",
    "Limit",
    "Range",
    "Settings",
    "Steps",
    "TrainSection",
    "Usage",
    "User",
    "counts_no_more",
    "default_of",
    "describe_settings",
    "keys_of",
    "list_counted_model_settings",
    "list_counted_settings",
    "list_settings_read_beside",
    "public_text",
    "read_settings",
    "settings_markdown",
    "text_before",
    "travelling_text",
    "variables_of",
]
