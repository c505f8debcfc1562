"""`vpd report --compare`: two runs side by side."""

import shutil
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from page_support import BROWSER, embedded, needs_browser, tour
from report_support import EVIL, ReportTest, firings, trained
from support import DATA


class Comparison(ReportTest):
    def compare(self, run, other):
        page, _, err = self.report(run, "--compare", other, "--out", self.root / "compared.html")
        return page, embedded(page)[0]["compare"], err

    def check_page(self, page):
        if not BROWSER:
            return
        found = tour(page, ["compare", "", "training", "selftest"])
        self.assert_sound(found)
        for words in ("Matched subcomponents", "Pairs", "Curves", "Figures on held-out rows"):
            self.assertIn(words, found["compare"]["text"])
        self.assert_fits(page, ["compare"], 400)

    def test_with_itself(self):
        page, compare, _ = self.compare(trained(0), trained(0))
        self.assertEqual(sum(site["pairs"] for site in compare["sites"]), sum(n > 0 for n in firings(trained(0))))
        for site in compare["sites"]:
            self.assertEqual((site["matched"], site["pairs"]), (site["alive"][0], site["alive"][0]), site["name"])
            self.assertEqual(site.get("mean", [1, 1, 1]), [1, 1, 1], site["name"])
        for _, mine, theirs, *cosines in compare["pairs"]:
            self.assertEqual((mine, cosines), (theirs, [1, 1, 1]))
        self.check_page(page)

    def test_two_seeds(self):
        page, compare, _ = self.compare(trained(0), trained(1))
        self.assertEqual(compare["steps"], [6, 6])
        for side in (0, 1):
            self.assertEqual(sum(site["alive"][side] for site in compare["sites"]), sum(n > 0 for n in firings(trained(side))))
            taken = [(pair[0], pair[1 + side]) for pair in compare["pairs"]]
            self.assertEqual(len(taken), len(set(taken)))
        for site in compare["sites"]:
            self.assertEqual(site.get("pairs", 0), min(site["alive"]), site["name"])
        for *_, u, v, matrix in compare["pairs"]:
            self.assertLess(abs(u * v - matrix), 0.002)
        self.check_page(page)

    def test_another_run_without_harvest(self):
        other = self.copy("other", seed=1)
        shutil.rmtree(other / "interpretation")
        _, compare, err = self.compare(trained(0), other)
        self.assertIn("vpd harvest", err)
        self.assertEqual([site["alive"][1] for site in compare["sites"]], [site["C"][1] for site in compare["sites"]])

    @needs_browser
    def test_a_hostile_name(self):
        self.assert_sound(tour(self.compare(trained(0), self.copy(EVIL, seed=1))[0], ["compare", "", "training"]))

    def refuse_target(self, path, sites):
        config = self.configure(target={"type": "hf", "path": str(DATA / "huggingface" / path)}, sites=sites, training__steps=1)
        self.run_program("decompose", config, "--out", self.out)
        before = sorted(self.root.iterdir())
        self.refuse(3, ["compare runs of one target"], "report", trained(0), "--compare", self.out, "--out", self.root / "compared.html")
        self.assertEqual(sorted(self.root.iterdir()), before)

    def test_a_target_with_other_sites(self):
        self.refuse_target("llama", [{"pattern": "*.mlp.*", "C": 7}])
        self.refuse(3, ["nothing"], "report", trained(0), "--compare", self.root / "nothing", "--out", self.root / "compared.html")

    def test_another_target_with_the_same_sites(self):
        """Its h.*.mlp.c_fc have the same names and shapes; that its weights are others provenance.json tells."""
        self.refuse_target("gpt2", [{"pattern": "*.mlp.c_fc", "C": 7}])


if __name__ == "__main__":
    unittest.main()
