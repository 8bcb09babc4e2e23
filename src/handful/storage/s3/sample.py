"""Samples a bucket: pages from random places, in a bounded number of requests.

Two ways together. A server that is asked with a delimiter names the folders of one level: one of
them is chosen at random, those first that nobody was in, and some keys are read there. Of a folder
that holds more than one answer names, a random point between the names known is asked for
(StartAfter; see `key_gaps`). Meanwhile the listing is read from its start: a small one is taken
whole.

Servers that ignore the delimiter, or the point, are found out by what they answer: then points are
used alone, or the listing from its start, of which each page gives a few keys.

Requests go out in rounds of at most `REQUESTS_AT_ONCE`, by threads that nobody waits for.
"""

from __future__ import annotations

import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from handful.errors import Denied, StoreError
from handful.storage.keys import key_fault
from handful.storage.retry import Throttled
from handful.storage.s3.clients import Clients
from handful.storage.s3.errors import asking
from handful.storage.s3.key_gaps import KeyGaps
from handful.storage.sampling import KeyCollector, KeySize, run_length

REQUESTS_AT_ONCE = 8
MOST_REQUESTS = 400
_PAGE_OF_FOLDERS = 1_000
_NEWS_OF_GAPS = 20
"""What a long folder counts for, in folders that nobody was in."""
_TURNS_SHARE = 0.3
_ENOUGH_NAMES, _ODD_SHARE, _MOST_ODD = 200, 0.02, 20
_TWINS_SHARE = 0.1
_MOST_WORDS = 8
_OWN_RUNS = 5
"""Runs that are taken of the files of one answer."""
_DRAWS = 4 * REQUESTS_AT_ONCE
"""Places that are tried when a round is planned."""


@dataclass(frozen=True)
class SamplePage:
    """What a server answered; keys and folders are relative to the root of the source."""

    files: Sequence[KeySize]
    folders: Sequence[str]
    """Each ends in `/`."""
    is_cut: bool
    token: str | None


Ask = Callable[[dict[str, Any]], SamplePage]
"""Asks for a page: Prefix, MaxKeys and perhaps Delimiter, StartAfter, ContinuationToken."""


@dataclass(eq=False)
class _Branch:
    """A folder of the bucket, as far as it was looked at."""

    prefix: str
    """"" or ending in `/`."""
    above: _Branch | None = None
    was_read: bool = False
    """Some of its keys were."""
    is_deep: bool = True
    """There are folders in its folders, as far as is known."""
    level: tuple[str, ...] = ()
    """The prefixes of all its folders, once they were asked for."""
    folders: deque[_Branch] | None = None
    """In random order, those that nobody was in first; None: not asked for yet."""
    gaps: KeyGaps | None = None
    """Of a folder with more names than one answer gives."""
    shapes: Counter[tuple[int, str]] = field(default_factory=Counter)
    """Of the folders' names seen in it, where `gaps` are: see `_add_odd_folders`."""
    odd: set[str] = field(default_factory=set)
    is_done: bool = False
    news: int = 1
    """About how many folders below it nobody was in."""

    def look_again(self) -> None:
        """Take out the folders that hold nothing new, here and above, and count what is new."""
        if self.folders is not None:
            self.folders = deque(one for one in self.folders if not one.is_done)
            self.is_done = not self.folders and self.gaps is None
        if self.is_done:
            self.news = 0
        elif self.gaps is not None:
            self.news = _NEWS_OF_GAPS
        elif self.folders is None:
            self.news = int(not self.was_read or self.is_deep)
        else:
            self.news = sum(one.news for one in self.folders)
        if self.above is not None:
            self.above.look_again()

    def choose(self, dice: Random) -> _Branch:
        """One of its folders: one with something new, if there is such."""
        folders = self.folders or deque()
        new = [one for one in folders if one.news] or [*folders]
        # By turns each has its share, by weight each of the folders below them.
        by_turns = dice.random() < _TURNS_SHARE
        chosen = new[0] if by_turns else dice.choices(new, [one.news or 1 for one in new])[0]
        folders.remove(chosen)
        folders.append(chosen)
        return chosen


@dataclass(frozen=True)
class _Question:
    """One request of a round, and what to do with its answer."""

    ask: dict[str, Any]
    take: Callable[[SamplePage], None]
    branch: _Branch


def sample_bucket(clients: Clients, root: str, where: str, into: KeyCollector) -> None:
    """Fill `into` from below the folder `root` ("" or ending in `/`) of the bucket."""

    def ask(what: dict[str, Any]) -> SamplePage:
        full = {name: root + what[name] for name in ("Prefix", "StartAfter") if name in what}
        with asking(where, clients.bucket):
            answer = clients.boto().list_objects_v2(Bucket=clients.bucket, **(what | full))
        clients.answered = True
        return _read_answer(answer, root, where)

    BucketSampler(ask, into).run()


def _read_answer(answer: dict[str, Any], root: str, where: str) -> SamplePage:
    """The answer, with keys and folders relative to `root`."""
    if not answer.keys() & {"IsTruncated", "Name", "Contents", "KeyCount"}:
        raise StoreError(
            "what answers here is no S3 server: it sent no listing",
            where=where,
            remedy="is S3_ENDPOINT_URL right? a proxy may have answered in its place",
        )
    files, start = answer.get("Contents", []), len(root)
    folders = [entry["Prefix"] for entry in answer.get("CommonPrefixes", [])]
    return SamplePage(
        [(e["Key"][start:], int(e.get("Size", 0))) for e in files if e["Key"].startswith(root)],
        [prefix[start:] for prefix in folders if prefix.startswith(root)],
        bool(answer.get("IsTruncated")),
        answer.get("NextContinuationToken"),
    )


@dataclass
class BucketSampler:
    """The rounds of requests; `ask` is all that it knows of a server."""

    ask: Ask
    into: KeyCollector
    requests: int = 0
    _run: int = 0
    _ignores_points: bool = False
    _ignores_folders: bool = False
    _is_throttled: bool = False
    _whole: dict[str, int] | None = field(default_factory=dict)
    """The listing from its start; None: it is too long."""
    _next: dict[str, Any] | None = None
    """How its next page is asked for; None: not at all."""
    _twins: list[_Question] = field(default_factory=list)
    """Requests that wait, see `_plan_twins`."""
    _rest: dict[str, Any] | None = None
    """How it would be, were it not too long."""

    def __post_init__(self) -> None:
        self._top = _Branch("")

    def run(self) -> None:
        """Fill `into`. Raises what `ask` raises for the root, and `Unreachable` for any folder."""
        first = self.ask({"Prefix": "", "MaxKeys": _PAGE_OF_FOLDERS})
        self.requests = 1
        keys = [key for key, _ in first.files]
        self._run = run_length(keys, self.into.most)
        self._take_from_start(first)
        while not self._is_over and (questions := self._plan()):
            self.requests += len(questions)
            for question, page in self._answers(questions):
                question.take(page)

    @property
    def _is_over(self) -> bool:
        into = self.into
        is_enough = into.is_all or into.is_full or self.requests >= MOST_REQUESTS
        return is_enough or into.is_over or self._is_throttled

    def _plan(self) -> list[_Question]:
        """The requests of a round: different ones."""
        questions = []
        if self._next is not None:
            ask = {"Prefix": "", "MaxKeys": _PAGE_OF_FOLDERS, **self._next}
            questions.append(_Question(ask, self._take_from_start, self._top))
        while self._twins and len(questions) < REQUESTS_AT_ONCE // 2:
            questions.append(self._twins.pop())
        asked: set[tuple[str, str]] = set()
        room = min(REQUESTS_AT_ONCE, MOST_REQUESTS - self.requests)
        for _ in range(_DRAWS):
            if len(questions) >= room:
                break
            question = self._draw()
            if question is None:
                break
            what = (question.ask["Prefix"], str(question.ask.get("StartAfter")))
            if what not in asked:
                asked.add(what)
                questions.append(question)
        return questions

    def _draw(self) -> _Question | None:
        """A random place; None: there is no other."""
        branch = self._top
        while not self._top.is_done:
            if not branch.was_read and branch.above is not None:
                return self._ask_keys(branch, branch.above)
            aside = branch.folders and self.into.random.random() < _TURNS_SHARE
            if branch.gaps is not None and not aside:
                point = None if self._ignores_points else branch.gaps.point(self.into.random)
                if point is not None:
                    return self._ask_point(branch, point)
                branch.gaps = None
                branch.look_again()
                branch = self._top
            elif branch.folders is None:
                return self._ask_folders(branch)
            else:
                branch = branch.choose(self.into.random)
        return None

    def _ask_keys(self, branch: _Branch, above: _Branch) -> _Question:
        """Keys from the start of a folder, and on into its neighbours if it has few."""
        ask: dict[str, Any] = {"Prefix": branch.prefix, "MaxKeys": self._run}
        if not self._ignores_points:
            ask |= {"Prefix": above.prefix, "StartAfter": branch.prefix}
        return _Question(ask, lambda page: self._take_first_keys(branch, above, page), branch)

    def _ask_folders(self, branch: _Branch) -> _Question:
        ask = {"Prefix": branch.prefix, "Delimiter": "/", "MaxKeys": _PAGE_OF_FOLDERS}
        return _Question(ask, lambda page: self._take_folders(branch, page), branch)

    def _ask_point(self, branch: _Branch, point: str) -> _Question:
        after = branch.prefix + point
        ask = {"Prefix": branch.prefix, "MaxKeys": self._run, "StartAfter": after}
        return _Question(ask, lambda page: self._take_behind(branch, point, page), branch)

    def _take_from_start(self, page: SamplePage) -> None:
        """A page of the listing from its start."""
        if self._whole is not None:
            self._whole |= dict(page.files)
            self._whole = self._whole if len(self._whole) <= self.into.most else None
        is_cut = page.is_cut and bool(page.files or page.token)
        if self._whole is not None and not is_cut:
            self.into.take_all(self._whole.items())
        elif self._whole is None or not self.into.sizes:
            self.into.add_some(page.files, self._run, begins=False, ends=False)
        self._rest = None
        if is_cut:
            token = {"ContinuationToken": page.token} if page.token else None
            self._rest = token or {"StartAfter": page.files[-1][0]}
        goes_on = self._whole is not None or self._ignores_points
        self._next = self._rest if goes_on else None

    def _take_first_keys(self, branch: _Branch, above: _Branch, page: SamplePage) -> None:
        """What `_ask_keys` asked for."""
        keys = [key for key, _ in page.files]
        if keys and keys[0] < branch.prefix:
            self._stop_using_points()
            return
        branch.was_read = True
        branch.is_done = not (page.is_cut and keys and keys[-1].startswith(branch.prefix))
        self.into.add(page.files[: self._run], begins=True, ends=not page.is_cut)
        self._plan_twins(keys)
        start = len(above.prefix)
        seen = {above.prefix + key[start:].partition("/")[0] + "/" for key in keys[: self._run]}
        last = keys[-1] if keys and page.is_cut else ""
        own = [key[len(branch.prefix) :] for key in keys if key.startswith(branch.prefix)]
        branch.is_deep = any(key.count("/") > 1 for key in own)
        for one in above.folders or ():
            if one.prefix in seen and not last.startswith(one.prefix):
                one.is_done, one.news = True, 0
        branch.look_again()

    def _take_folders(self, branch: _Branch, page: SamplePage) -> None:
        """A level of a folder."""
        start = len(branch.prefix)
        names = [key[start:] for key, _ in page.files if key != branch.prefix]
        # Below a name that no store reads nothing is to be had, and servers stumble over some.
        below = [one[start:] for one in page.folders if not key_fault(one.removesuffix("/"))]
        if any("/" in name.removesuffix("/") for name in names):
            self._ignores_folders = True
        has_files = bool(names) and not self._ignores_folders
        for _ in range(_OWN_RUNS if has_files and not page.is_cut else 0):
            self.into.add_some(page.files, self._run, begins=True, ends=True)
        branch.folders = deque()
        if page.is_cut or self._ignores_folders:
            branch.gaps = KeyGaps()
            branch.gaps.cover("", names if self._ignores_folders else [], to_end=False)
            branch.gaps.learn(sorted([*names, *below]))
            _add_odd_folders(branch, below)
        else:
            folders = [_Branch(branch.prefix + name, branch) for name in below]
            self.into.random.shuffle(folders)
            branch.folders.extend(folders)
            branch.level = tuple(one.prefix for one in folders)
        branch.look_again()

    def _take_behind(self, branch: _Branch, point: str, page: SamplePage) -> None:
        """Keys behind a point of a folder."""
        after, start = branch.prefix + point, len(branch.prefix)
        if any(key <= after for key, _ in page.files[:1]):
            self._stop_using_points()
            return
        names = [key[start:] for key, _ in page.files]
        self._plan_twins([key for key, _ in page.files])
        tops = {name.partition("/")[0] for name in names if "/" in name}
        _add_odd_folders(branch, {f"{top}/" for top in tops if not key_fault(branch.prefix + top)})
        self.into.add(page.files[: self._run], begins=False, ends=not page.is_cut)
        if branch.gaps is not None:
            branch.gaps.cover(point, names, to_end=not page.is_cut)

    def _plan_twins(self, keys: Sequence[str]) -> None:
        """Now and then look for the same names in the folders beside.

        Where `raw/` and `meta/` hold files of the same artifacts, random places would never meet.
        """
        dice = self.into.random
        if not keys or self._ignores_points or dice.random() > _TWINS_SHARE:
            return
        key, branch = keys[0], self._top
        if key_fault(key):
            return
        while branch.folders and not _are_words(branch.level):
            branch = next((b for b in branch.folders if key.startswith(b.prefix)), _Branch(""))
        mine = next((one for one in branch.level if key.startswith(one)), None)
        if mine is None:
            return
        folder, slash, name = key[len(mine) :].rpartition("/")
        stem = name.partition(".")[0] if "." in name else name[:-1]
        for beside in branch.level:
            if beside != mine:
                after = f"{beside}{folder}{slash}{stem}"
                ask = {"Prefix": beside, "MaxKeys": self._run, "StartAfter": after}
                self._twins.append(_Question(ask, self._take_twins, _Branch(beside)))

    def _take_twins(self, page: SamplePage) -> None:
        self.into.add(page.files[: self._run], begins=False, ends=not page.is_cut)

    def _stop_using_points(self) -> None:
        """The server gives the start whatever it is asked for: so go on from there."""
        if not self._ignores_points:
            self._ignores_points = True
            self._next = self._next or self._rest

    def _answers(self, questions: Sequence[_Question]) -> list[tuple[_Question, SamplePage]]:
        """The round's answers, as far as they came in time; a denied folder has none."""
        pages: list[SamplePage | BaseException | None] = [None] * len(questions)

        def work(number: int) -> None:
            try:
                pages[number] = self.ask(questions[number].ask)
            except BaseException as error:  # noqa: BLE001 - raised again by whoever waits
                pages[number] = error

        threads = [
            threading.Thread(target=work, args=(n,), name=f"handful-sample-{n}", daemon=True)
            for n in range(len(questions))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = []
        for question, page in zip(questions, pages, strict=True):
            if isinstance(page, Throttled) and self.into.sizes:
                self._is_throttled = True  # what was seen has to do
            elif isinstance(page, Denied) and question.branch is not self._top:
                question.branch.is_done = True
                question.branch.look_again()
            elif isinstance(page, BaseException):
                raise page
            elif page is not None:
                found.append((question, page))
        return found


def _are_words(level: Sequence[str]) -> bool:
    """Are these few folders named by words, as kinds or customers are, and not by numbers?"""
    is_few = 1 < len(level) <= _MOST_WORDS
    return is_few and not any(letter.isdigit() for one in level for letter in one.split("/")[-2])


def _add_odd_folders(branch: _Branch, below: Iterable[str]) -> None:
    """Folders named otherwise than most of a long folder, which may hold a world of their own.

    Thousands of ids with `archive/` among them: no random point would lead into that.
    """
    shapes = {name: (len(name), re.sub(r"\w+", "w", name)) for name in below}
    branch.shapes.update(shapes.values())
    if branch.shapes.total() < _ENOUGH_NAMES or branch.folders is None:
        return
    for name, shape in sorted(shapes.items()):
        is_odd = branch.shapes[shape] <= _ODD_SHARE * branch.shapes.total()
        if is_odd and name not in branch.odd and len(branch.odd) < _MOST_ODD:
            branch.odd.add(name)
            branch.folders.appendleft(_Branch(branch.prefix + name, branch))
