"""`vpd graph`: what it leaves agrees with itself, other viewers' fields are there, and what cannot be done is refused. Its numbers have
references in tests/interpretation."""

import json
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from interpretation_support import TOKENS, UnlearnTest, listed, load
from page_support import needs_browser, tour
from support import PROGRAM

PROMPT = ("--prompt-tokens", listed(TOKENS))
NODE = {"node_id": str, "feature": int, "layer": str, "ctx_idx": int, "feature_type": str, "jsNodeId": str, "clerp": str, "influence": float,
        "token_prob": float, "is_target_logit": bool, "run_idx": int, "reverse_ctx_idx": int}


class GraphTest(UnlearnTest):
    def graph(self, *arguments, slug="graph", steps="30"):
        text, _ = self.run_program("graph", self.run_directory, "--threads", "1", *PROMPT, "--steps", steps, "--lambda", "0.02", "--slug", slug, *arguments)
        directory = self.results(self.run_directory) / "graphs" / slug
        return text, json.loads((directory / "graph.json").read_text()), load(directory / "edges.safetensors"), json.loads((directory / "viewer.json").read_text())


class Found(GraphTest):
    def test_graph(self):
        text, graph, edges, viewer = self.graph("--target", "#5@6", "--target", "kl@3", "--compare")
        self.assertEqual(graph["tokens"], TOKENS)
        self.assertEqual(graph["targets"], [{"at": 6, "token": 5}, {"at": 3, "token": None}])
        self.assertEqual([one["masks"] for one in graph["pruned"]], ["adversarial", "stochastic", "importance"])
        self.assertFalse(any(one["verdict"]["faithful"] for one in graph["pruned"][1:]))
        kept = [node for node in graph["nodes"] if node["kind"] == "subcomponent"]
        self.assertEqual(len(kept), graph["kept"])
        self.assertLessEqual(graph["kept"], graph["alive"])
        # Edges add up to the balance of what they lead into.
        nodes, into = graph["nodes"], {}
        for source, target, weight in zip(*(edges[name].values for name in ("source", "target", "weight"))):
            self.assertLessEqual(nodes[source]["at"], nodes[target]["at"])
            if nodes[source]["kind"] == "subcomponent":
                into[target] = into.get(target, 0.0) + weight
        for target, weight in into.items():
            balance = nodes[target]["balance"]
            self.assertLess(abs(weight - balance["kept"]), 1e-4 * (1.0 + max(map(abs, balance.values()))))
            self.assertLess(abs(sum(balance.values()) - nodes[target]["F"]), 1e-4 * (1.0 + max(map(abs, balance.values()))))
        self.assertIn("NOT faithful", text)
        self.check_viewer(viewer, graph)

    def check_viewer(self, viewer, graph):
        self.assertEqual(viewer["metadata"]["prompt_tokens"], graph["texts"])
        self.assertEqual({"slug", "scan", "transcoder_list", "prompt_tokens", "prompt", "node_threshold", "schema_version", "info", "pruning_settings"},
                         set(viewer["metadata"]))
        ids = [node["node_id"] for node in viewer["nodes"]]
        self.assertEqual(len(ids), len(set(ids)))
        for node in viewer["nodes"]:
            for field, kind in NODE.items():
                self.assertIsInstance(node[field], (int, float) if kind is float else kind, field)
            if node["feature_type"] == "logit":
                self.assertIn("(p=", node["clerp"])
                self.assertGreater(int(node["layer"]), 0)
        for link in viewer["links"]:
            self.assertTrue(link["source"] in ids and link["target"] in ids)
            self.assertIsInstance(link["weight"], float)
        self.assertEqual(sum(node["is_target_logit"] for node in viewer["nodes"]), 1)

    def test_without_pruning(self):
        _, graph, _, _ = self.graph("--all-nodes", slug="all")
        self.assertEqual(graph["kept"], graph["alive"])
        self.assertFalse(graph["faithful"])
        self.assertEqual(graph["targets"][0]["at"], len(TOKENS) - 1)

    def test_twice_the_same(self):
        graphs = [self.graph("--seed", "3", slug=slug, steps="10")[1] for slug in ("one", "two")]
        for one in graphs:
            del one["seconds"]
        self.assertEqual(*graphs)


class Page(GraphTest):
    @needs_browser
    def test_page(self):
        """The page draws every graph, on narrow screens too, and what was unlearned beside it."""
        self.harvest(self.run_directory)
        self.graph("--compare", slug="first")
        self.graph("--target", "kl@3", slug="second")
        self.unlearn("--budget", "0.05", "--baselines", "importance,mean_difference", "--relearn", "2")
        self.run_program("report", self.run_directory, "--out", "page.html")
        for width in (400, 1280):
            found = tour(self.root / "page.html", ["graphs", "graphs?g=second", "edits"], width)
            for way, page in found.items():
                self.assertEqual((page["ready"], page["errors"], page["last"]), ("1", "0", ""), way)
                self.assertLessEqual(page["needed"], page["width"] + 1, (way, page["wide"]))
            self.assertIn("Not faithful", found["graphs"]["text"])
            self.assertIn("unlearn a behaviour", found["edits"]["text"])


class Refused(GraphTest):
    def test_options(self):
        self.refuse_each(2, *((words, "graph", self.run_directory, *more) for words, *more in (
            (["--prompt or --prompt-tokens", "neither"],), (["--target", "0 to 7", "found 8"], *PROMPT, "--target", "#5@8"),
            (["'#61'", "below 61"], *PROMPT, "--target", "#61"), (["--lambda"], *PROMPT, "--lambda", "-1"), (["--masks", "'tea'"], *PROMPT, "--masks", "tea"),
            (["--compare and --all-nodes"], *PROMPT, "--compare", "--all-nodes"), (["--continuation", "tokenizer.json"], *PROMPT, "--continuation", "x"),
            (["--lambda 500000", "all", "pruned"], *PROMPT, "--lambda", "1e6", "--steps", "5", "--rate", "1"),
            (["--slug"], *PROMPT, "--slug", "a/b"), (["numbers between commas"], "--prompt-tokens", "5,x"))))
        self.assertFalse((self.run_directory / "interpretation").exists())

    def test_interrupted(self):
        process = subprocess.Popen([PROGRAM, "graph", self.run_directory, *PROMPT, "--steps", "1000000"], stderr=subprocess.PIPE, text=True)
        self.assertTrue(process.stderr.readline())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, errors)
        self.assertFalse((self.run_directory / "interpretation").exists())


if __name__ == "__main__":
    unittest.main()
