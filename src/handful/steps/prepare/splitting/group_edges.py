"""What ties artifacts together: a shared column of the label rows, or (nearly) the same files."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from handful.errors import UserError
from handful.settings import Settings
from handful.settings.values.key_patterns import parse
from handful.steps.prepare.artifacts import Artifact
from handful.steps.prepare.labels import nearest
from handful.steps.prepare.similarity.known_likeness import Alike, Likeness
from handful.steps.prepare.similarity.near_duplicate_index import Reader
from handful.steps.prepare.splitting.groups import Links


def check_group_by(artifacts: Sequence[Artifact], settings: Settings) -> None:
    """`UserError` if the label rows have no column GROUP_BY."""
    _group_by_values(artifacts, settings)


def links_between(
    artifacts: Sequence[Artifact], settings: Settings, reader: Reader, found: Alike | None
) -> Links:
    """The links that GROUP_BY asks for, and likeness, if anybody looked for it.

    `found`: which of `artifacts` are alike, as `reader` has found. `UserError` if the label rows
    have no column GROUP_BY.
    """
    values = _group_by_values(artifacts, settings)
    alike = found.each if found else (Likeness(None, None),) * len(artifacts)

    def direct_links(settled: Sequence[int], arriving: Sequence[int]) -> Iterable[tuple[int, int]]:
        return reader.direct_links(settled, arriving) if found else []

    shared = [tuple(_group_link_keys(value, one)) for value, one in zip(values, alike, strict=True)]
    return Links(shared, [one.family for one in alike], direct_links)


def _group_link_keys(values: Sequence[str], alike: Likeness) -> Iterable[Hashable]:
    for value in values:
        yield "GROUP_BY", value
    if alike.content is not None:
        yield "content", alike.content


def _group_by_values(artifacts: Sequence[Artifact], settings: Settings) -> list[Sequence[str]]:
    """Each artifact's values in the column GROUP_BY, as text; none where it has none.

    Several where its files differ in a name of KEY_PATTERN: it belongs to all of these.
    """
    name = settings.prepare.GROUP_BY
    if name is None:
        return [()] * len(artifacts)
    if not any(name in artifact.columns() for artifact in artifacts):
        columns = {column for artifact in artifacts for column in artifact.columns()}
        raise UserError(
            f"neither the label rows have a column {name!r} nor KEY_PATTERN such a name",
            where="[prepare] GROUP_BY",
            remedy=f"did you mean {nearest(name, columns)}?",
        )
    values = [artifact.column(name) for artifact in artifacts]
    if name in parse(settings.production.KEY_PATTERN).names:
        values = [value if isinstance(value, list) else [value] for value in values]
    else:
        values = [[value] for value in values]
    return [[str(one) for one in some if one is not None] for some in values]
