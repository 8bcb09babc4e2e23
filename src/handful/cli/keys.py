"""`handful settings`: the keys of settings.ini."""

from __future__ import annotations

import json
from typing import Any

from handful.cli.options import AsJson


def settings(as_json: AsJson = False) -> None:
    """Show every key of settings.ini: its unit, default and meaning."""
    from dataclasses import asdict

    from handful.settings import describe_settings

    keys = [asdict(key) for key in describe_settings()]
    print(json.dumps(keys, indent=2) if as_json else _as_text(keys))


def _as_text(keys: list[dict[str, Any]]) -> str:
    lines, section = [], None
    for key in keys:
        if key["section"] != section:
            section = key["section"]
            lines.append(f"\n[{section}]")
        default = "required" if key["required"] else f"default: {key['default'] or 'none'}"
        unit = "".join(f", {key[told]}" for told in ("unit", "range") if key[told])
        lines += [f"  {key['key']}  ({default}{unit})", f"      {key['meaning']}"]
    return "\n".join(lines).lstrip("\n")
