"""Moments as records hold them: ISO 8601 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def current_moment() -> str:
    """Now, by this machine's clock, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def seconds_since(moment: str) -> float:
    """Since a moment, by this machine's clock."""
    return (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()


def age(moment: str) -> str:
    """How long ago a moment was, as a person says it."""
    seconds = seconds_since(moment)
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
