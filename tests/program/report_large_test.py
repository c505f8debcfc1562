"""`vpd report` of made-up harvests: how long a page of 10,000 subcomponents takes to be written, and to open and filter in a browser."""

import sys
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from page_support import BROWSER, tour
from report_support import SLOWER, ReportTest, harvest_of
from support import CONFIG
from synthetic_harvest import write_run


class Large(ReportTest):
    """Made-up harvests."""

    def test_ten_thousand_subcomponents(self):
        run = self.root / "large"
        harvest = write_run(run, CONFIG, subcomponents=10_000)
        sites, alive = harvest.sites, harvest.alive
        begin = time.monotonic()
        page, told, _ = self.report(run)
        seconds = time.monotonic() - begin
        print(f"10,000 subcomponents: {page.stat().st_size:,} bytes, written in {seconds:.1f} s", flush=True)
        self.assertEqual((told["subcomponents"], told["paged"], told["missing"]), (10_000, False, []))
        self.assertLessEqual(page.stat().st_size, 10_000_000)
        self.assertLessEqual(seconds, 2 * 20 * SLOWER)
        if not BROWSER:
            return
        self.assert_tried(page)
        labelled = f"s/{sites[0]['name']}:{alive[1] - sites[0]['offset']}"
        self.assert_sound(tour(page, ["", "sites", "subs", labelled]))

    def test_many_files(self):
        run = self.root / "middle"
        write_run(run, CONFIG, subcomponents=600, vocabulary=1000, hostile=False)
        page, told, _ = self.report(run, "--paged")
        self.assertGreater(len(self.assert_many_files(page, told, harvest_of(run))), 2)
        if BROWSER:
            self.assert_tried(page)


if __name__ == "__main__":
    unittest.main()
