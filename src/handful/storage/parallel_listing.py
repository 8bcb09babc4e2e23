"""Lists a long listing by many hands, though nobody knows how its keys are spread.

A server gives keys a page at a time, and the next page only after the last: one reader waits for
the network most of the time. So while one reads, idle hands split what is left: they guess a key in
the middle of the widest rest, and read from there on. A guess behind the last key costs one request
and halves the rest; sixteen of them at once find the right place within a few round trips. Who
knows what to expect there (a caller that has just copied it) tells where to cut from the start.

Nothing is lost at a seam. A reader stops where its neighbour began only if the next key it was
given *is* the neighbour's first one; otherwise it reads on until that key comes (or the end).
So every key is given at least once whatever the server's order is, if only it is always the same:
SeaweedFS sorts folder by folder, AWS byte by byte. Where the two differ, a key may come twice.

A caller who cannot tell may give a way to explore (see `local.folders`): it is asked once
the listing turns out to be long, and what it finds is better than any guess.
"""

from __future__ import annotations

import os
import re
import string
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import Empty, Full, Queue

import pyarrow as pa

Pages = Callable[[str | None], Iterator[pa.RecordBatch]]
"""The listing behind a key (None: from its start), page by page; column 0 holds the keys."""

Explore = Callable[[], Sequence[str]]
"""Keys at which a listing may be cut, in byte order."""

HANDS = 16
"""Readers at most."""
FULL = 1_000
"""Keys of a full page: a range that gave fewer may be at its end."""
WORTH = 2 * FULL
"""Keys that a rest should hold to be split."""
_WAITING = 64
"""Pages that wait for the consumer."""
_LETTERS = "".join(sorted(string.digits + string.ascii_letters))
_SAFE = re.compile(r"[A-Za-z0-9_./-]*")
_POSITION_BYTES = 48
_LISTING_POLL_SECONDS = 0.2
"""Seconds between two looks whether anybody still listens."""


def list_in_parallel(
    pages: Pages, common: str, seams: Sequence[str] = (), explore: Explore | None = None
) -> Iterator[pa.RecordBatch]:
    """Everything that `pages(None)` gives, read by up to `HANDS` threads; in no particular order.

    Args:
        common: what every key begins with.
        seams: where to cut from the start, in byte order; best about a page apart.
        explore: finds out where a long listing may be cut, while others read.

    Raises what `pages` raises, from whichever thread it came first.
    """
    listing = _Listing(pages, common, seams, explore)
    listing.start(min(HANDS, len(seams) + 1))
    try:
        yield from listing.found()
    finally:
        listing.stop()


def between(low: str, high: str | None) -> str | None:
    """A key between two, about in the middle; None if there is none that is safe to ask for.

    It ends in a letter or digit, which sort behind `/`: so the orders of all servers agree on what
    lies before it, as far as its last part goes.
    """
    same = 0
    while high is not None and low[same : same + 1] == high[same : same + 1] != "":
        same += 1
    for depth in range(same, len(low) + 1):
        above = low[depth : depth + 1]
        below = high[depth : depth + 1] if high is not None and depth == same else ""
        letters = [c for c in _LETTERS if c > above and (not below or c < below)]
        if letters:
            guess = low[:depth] + letters[len(letters) // 2]
            return guess if is_safe(guess) else None
    return None


def is_safe(key: str) -> bool:
    """Can every server be asked for what comes behind this key?"""
    return _SAFE.fullmatch(key) is not None


@dataclass(eq=False)
class _Range:
    """A run of the listing: from behind `after` to the next range's first key."""

    after: str | None
    until: str | None
    """Keys from here on are the next range's; None: there is no next one."""
    next: _Range | None = None
    first: str | None = None
    """Its first key; None, once `begun`: it has none."""
    begun: threading.Event = field(default_factory=threading.Event)
    last: str | None = None
    seen: int = 0
    closed: bool = False
    """Nothing of it is left to be split."""


def _merge_listing_pages(pages: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Pages that came at the same time, as one: fewer steps for whoever reads them."""
    if len(pages) > 1:
        yield from pa.Table.from_batches(pages).combine_chunks().to_batches()
    else:
        yield from pages


def _build_listing_ranges(seams: Sequence[str]) -> list[_Range]:
    """The whole listing as ranges that meet at the seams."""
    ranges = [_Range(None, None)]
    for seam in seams:
        new = _Range(seam, None)
        ranges[-1].until, ranges[-1].next = seam, new
        ranges.append(new)
    return ranges


class _Listing:
    """What the hands share."""

    def __init__(
        self, pages: Pages, common: str, seams: Sequence[str] = (), explore: Explore | None = None
    ) -> None:
        self._pages = pages
        self._explore = explore
        self._explored: Sequence[str] = ()
        self._common = common
        self._change = threading.Condition()
        self._ranges = _build_listing_ranges(seams)
        # Taken from the end: whoever waits at a seam waits for a range that was begun before.
        self._waiting: list[_Range] = list(self._ranges)
        self._at_work = 0
        self._stopped = False
        self._hands = 0
        self._error: BaseException | None = None
        self._out: Queue[pa.RecordBatch | None] = Queue(_WAITING)

    def start(self, hands: int) -> None:
        """Let there be so many of them."""
        for number in range(self._hands, hands):
            threading.Thread(target=self.work, name=f"handful-list-{number}", daemon=True).start()
        self._hands = max(self._hands, hands)

    def _look_around(self, explore: Explore) -> None:
        """Have somebody explore, once."""
        self._explore = None

        def explore_seams() -> None:
            found = explore()
            with self._change:
                self._explored = found
                self._change.notify_all()

        threading.Thread(target=explore_seams, name="handful-list-folders", daemon=True).start()

    def found(self) -> Iterator[pa.RecordBatch]:
        while True:
            # Not by way of the queue, where an error might find no room.
            if self._error is not None:
                raise self._error
            try:
                item = self._out.get(timeout=_LISTING_POLL_SECONDS)
            except Empty:
                continue
            pages: list[pa.RecordBatch] = []
            while item is not None:
                pages.append(item)
                if len(pages) == _WAITING:
                    break
                try:
                    item = self._out.get_nowait()
                except Empty:
                    break
            yield from _merge_listing_pages(pages)
            if item is None:
                return

    def stop(self) -> None:
        """Whoever waits for room in the queue, or for a neighbour, ends soon."""
        with self._change:
            self._stopped = True
            for one in self._ranges:
                one.begun.set()
            self._change.notify_all()

    def work(self) -> None:
        """What each hand does: take a range, or make one, until nothing is left."""
        while (mine := self._take()) is not None:
            try:
                self._read(mine)
            except BaseException as error:  # noqa: BLE001 - raised again by the consumer's thread
                # Before the turn is given up: no idle hand may take this for the end.
                self._error = self._error or error
                self.stop()
            finally:
                with self._change:
                    mine.closed = True
                    mine.begun.set()
                    self._at_work -= 1
                    self._change.notify_all()

    def _take(self) -> _Range | None:
        with self._change:
            while not self._stopped:
                if self._waiting or self._halve_widest_range():
                    self._at_work += 1
                    return self._waiting.pop()
                if not self._at_work:
                    break
                self._change.wait()
            last = not self._at_work and not self._stopped
            self._stopped = self._stopped or last
            self._change.notify_all()
        if last:
            self._out.put(None)
        return None

    def _halve_widest_range(self) -> bool:
        """Cut the widest rest in two; False if none is worth it."""
        open_ones = [r for r in self._ranges if not r.closed and r.last is not None]
        known = {id(r): seam for r in open_ones if (seam := self._seam(r))}
        # Where folders are known, none is a guess.
        for one in sorted(
            open_ones, key=lambda r: (id(r) in known, self._estimate_keys_left(r)), reverse=True
        ):
            if id(one) not in known and (self._estimate_keys_left(one) < WORTH or one.seen < FULL):
                continue
            cut = known.get(id(one)) or self._guess(one)
            if cut is None:
                continue
            new = _Range(cut, one.until, one.next)
            one.until, one.next = cut, new
            self._ranges.append(new)
            self._waiting.append(new)
            return True
        return False

    def _seam(self, one: _Range) -> str | None:
        """The last of the explored seams in what is left of a range."""
        end = len(self._explored) if one.until is None else bisect_left(self._explored, one.until)
        seam = self._explored[end - 1] if end else None
        return seam if seam is not None and seam > str(one.last) else None

    def _guess(self, one: _Range) -> str | None:
        """A key in the middle of the folder that all keys of the range lay in, or of the rest."""
        last, until = str(one.last), one.until
        same = os.path.commonprefix([str(one.first), last])  # noqa: RUF071 - of texts, not of paths
        folder = same[: same.rfind("/") + 1]
        if len(folder) > len(self._common) and not (until or "").startswith(folder):
            found = between(last[len(folder) :], None)
            if found is not None and is_safe(folder):
                return folder + found
        inside = len(self._common)
        found = between(last[inside:], until[inside:] if until is not None else None)
        return None if found is None else self._common + found

    def _estimate_keys_left(self, one: _Range) -> float:
        """About how many keys are left, if they go on as densely as they came so far."""
        first, last = self._position(one.first), self._position(one.last)
        end = self._position(one.until) if one.until is not None else 256**_POSITION_BYTES
        return one.seen * max(0, end - last) / max(1, last - first)

    def _position(self, key: str | None) -> int:
        rest = str(key).encode()[len(self._common.encode()) :][:_POSITION_BYTES]
        return int.from_bytes(rest.ljust(_POSITION_BYTES, b"\0"))

    def _read(self, mine: _Range) -> None:
        pages = self._pages(mine.after)
        for page in pages:
            if not page.num_rows:
                continue
            with self._change:
                if self._stopped:
                    return
                cut = self._claim(mine, page)
                if mine.seen >= FULL:  # the listing may be long
                    self.start(HANDS)
                    if self._explore:
                        self._look_around(self._explore)
                self._change.notify_all()
            self._put(page.slice(0, cut))
            if cut < page.num_rows:
                self._to_the_seam(mine, page.slice(cut), pages)
                return

    def _claim(self, mine: _Range, page: pa.RecordBatch) -> int:
        """How many keys of the page are before the end of the range; from now on they are its."""
        keys = page.column(0)
        if not mine.begun.is_set():
            mine.first = keys[0].as_py()
            mine.begun.set()
        cut = len(keys)
        if mine.until is not None:
            until = mine.until
            behind = (at for at, key in enumerate(keys.to_pylist()) if key >= until)
            cut = next(behind, cut)
        mine.closed = cut < len(keys)
        mine.seen += cut
        if cut:
            mine.last = keys[cut - 1].as_py()
        return cut

    def _to_the_seam(
        self, mine: _Range, page: pa.RecordBatch, pages: Iterator[pa.RecordBatch]
    ) -> None:
        """Give what lies before the neighbour's first key: nothing, if the order is as expected."""
        target = self._first_after(mine)
        while not self._stopped:
            keys = page.column(0).to_pylist()
            if target in keys:
                self._put(page.slice(0, keys.index(target)))
                return
            self._put(page)
            following = next(pages, None)
            if following is None:
                return
            page = following

    def _first_after(self, mine: _Range) -> str | None:
        neighbour = mine.next
        while neighbour is not None:
            neighbour.begun.wait()
            if neighbour.first is not None:
                return neighbour.first
            neighbour = neighbour.next
        return None

    def _put(self, item: pa.RecordBatch) -> None:
        while item.num_rows and not self._stopped:
            try:
                self._out.put(item, timeout=_LISTING_POLL_SECONDS)
            except Full:
                continue
            return
