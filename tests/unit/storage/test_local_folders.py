"""Where a long listing is cut whose keys begin with anything but the ids."""

from __future__ import annotations

import datetime
import time

import pytest

from handful.storage import parallel_listing
from handful.storage.local.folders import ENOUGH, MOST, folder_seams
from handful.storage.parallel_listing import HANDS, list_in_parallel
from tests.support.paging import Order, Server, byte_order, folder_order


class Folders(Server):
    """Knows its folders, too."""

    asked: int = 0
    most: int = 1_000

    def below(self, folder: str) -> list[str] | None:
        time.sleep(self.seconds)
        self.asked += 1
        inside = [key[len(folder) :] for key in self.keys if key.startswith(folder)]
        found = sorted({f"{folder}{key.split('/')[0]}/" for key in inside if "/" in key})
        return found if len(found) <= self.most else None


def days(count: int) -> list[str]:
    first = datetime.date(2022, 1, 1)
    return [(first + datetime.timedelta(days=n)).strftime("%Y/%m/%d") for n in range(count)]


LAYOUTS = {
    "dates": [f"p/{day}/{n:x}/body.eml" for n in range(4) for day in days(800)],
    "tenants": [f"p/t{n % 7}/inbox/{n * 2654435761 % 2**32:08x}/a" for n in range(3_000)],
    "one large": [
        f"p/t{n % 9 * (n % 5 == 0)}/{n * 2654435761 % 2**32:08x}/a" for n in range(3_000)
    ],
    "hashes": [f"p/{n % 16:x}/{n % 256:02x}/{n}" for n in range(3_000)],
    "flat": [f"p/{n * 2654435761 % 2**32:08x}.pdf" for n in range(3_000)],
}


@pytest.mark.parametrize("order", [byte_order, folder_order])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_key_comes_once_and_by_many_hands(
    layout: str, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel_listing, "FULL", 10)
    monkeypatch.setattr(parallel_listing, "WORTH", 20)
    keys = set(LAYOUTS[layout])
    server = Folders(keys, order)
    server.seconds = 0.002
    pages = list_in_parallel(server.after, "p/", (), lambda: folder_seams(server.below, "p/"))
    found = [key for page in pages for key in page.column(0).to_pylist()]
    assert sorted(found) == sorted(keys)
    assert HANDS <= len(server.threads) <= HANDS + 1  # who asks for folders may be one more
    assert server.pages < 2 * len(keys) / server.page


def test_folders_are_asked_level_by_level_until_there_are_enough() -> None:
    server = Folders(set(LAYOUTS["dates"]))
    seams = folder_seams(server.below, "p/")
    assert seams[0] == "p/2022/01/01"  # two years of months are too few: the days
    assert ENOUGH / 2 <= len(seams) <= MOST
    assert seams == sorted(seams)
    assert server.asked == 1 + 3 + 27


def test_a_level_of_too_many_folders_is_not_gone_into() -> None:
    server = Folders({f"p/{n}/a" for n in range(50)})
    server.most = 40
    assert folder_seams(server.below, "p/") == []
    server = Folders({f"p/t{n % 2}/{n}/a" for n in range(200)})
    server.most = 40
    assert folder_seams(server.below, "p/") == ["p/t0", "p/t1"]


def test_a_short_listing_asks_for_no_folder() -> None:
    server = Folders({f"p/{n}/a" for n in range(50)})
    pages = list_in_parallel(server.after, "p/", (), lambda: folder_seams(server.below, "p/"))
    assert sum(page.num_rows for page in pages) == 50
    assert server.asked == 0
