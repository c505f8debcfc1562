"""The pages of graphs, clusters and edits in the report, opened in a browser."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from graph_test import GraphTest
from page_support import needs_browser, tour


class Page(GraphTest):
    @needs_browser
    def test_page(self):
        """The page draws every graph, on narrow screens too, and what was unlearned beside it."""
        self.harvest(self.run_directory)
        _, graph, _, _ = self.graph("--compare", slug="first")
        at_one = [node["key"] for node in graph["nodes"] if node["kind"] == "subcomponent" and node["shown"] and node["at"] == 7]
        self.assertGreater(len(at_one), 1)
        self.write_clusters("first", at_one)
        self.graph("--compare", slug="first")
        self.graph("--target", "kl@3", slug="second")
        self.graph("--generate", "2", "--rule", "both", "--check-edges", "5", slug="third")
        self.run_program("graph-diff", "first", "second", "--run", self.run_directory, "--slug", "pair")
        self.unlearn("--budget", "0.05", "--baselines", "importance,mean_difference", "--relearn", "2")
        self.run_program("cluster", self.run_directory, "--seeds", "1")  # in place of the ones made up above
        self.run_program("report", self.run_directory, "--out", "page.html")
        for width in (400, 1280):
            found = tour(self.root / "page.html", ["clusters", "graphs", "graphs?g=first", "graphs?g=second", "graphs?g=third&rule=complete", "graphs?g=first&clusters=1", "edits"], width)
            for way, page in found.items():
                self.assertEqual((page["ready"], page["errors"], page["last"]), ("1", "0", ""), way)
                self.assertLessEqual(page["needed"], page["width"] + 1, (way, page["wide"]))
            self.assertIn("Not faithful", found["graphs"]["text"])
            first = found["graphs?g=first"]  # of three prunings, each with a graph of its own
            self.assertIn("pruned under its importances alone", first["text"])
            self.assertEqual(sum(spoken.startswith("Graph of ") for spoken in first["spoken"]), 3)
            self.assertEqual(sum(spoken.startswith("Graph of ") for spoken in found["graphs?g=second"]["spoken"]), 1)
            third = found["graphs?g=third&rule=complete"]["text"]
            self.assertIn("The complete rule: norms' denominators", third)
            self.assertIn("the sources were taken out one by one", third)
            self.assertIn("dotted ones lead from a token", third)
            grouped = found["graphs?g=first&clusters=1"]
            self.assertTrue(any("cluster 0 (" in spoken for spoken in grouped["spoken"]))
            self.assertFalse(any("cluster 0 (" in spoken for spoken in found["graphs?g=first"]["spoken"]))
            self.assertIn("first (A) beside second (B)", found["graphs"]["text"])
            self.assertIn("unlearn a behaviour", found["edits"]["text"])


if __name__ == "__main__":
    unittest.main()
