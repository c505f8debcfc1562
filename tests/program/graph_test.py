"""`vpd graph`: what it leaves agrees with itself, other viewers' fields are there, and what cannot be done is refused. Its numbers have
references in tests/interpretation."""

import json
import math
import shutil
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from interpretation_support import TOKENS, HarvestTest, UnlearnTest, listed, load
from support import PROGRAM
from viewer_schema import GRAPH, METADATA, FEATURE, validate

PROMPT = ("--prompt-tokens", listed(TOKENS))

class GraphTest(UnlearnTest):
    def graph(self, *arguments, slug="graph", steps="30"):
        text, _ = self.run_program("graph", self.run_directory, "--threads", "1", *PROMPT, "--steps", steps, "--lambda", "0.02", "--slug", slug, *arguments)
        directory = self.results(self.run_directory) / "graphs" / slug
        return text, json.loads((directory / "graph.json").read_text()), load(directory / "edges.safetensors"), json.loads((directory / "viewer.json").read_text())

    def write_clusters(self, slug, *members, **about):
        """What `vpd cluster` leaves, of the weights of a graph."""
        directory = self.results(self.run_directory) / "clusters"
        directory.mkdir(exist_ok=True)
        (directory / "clusters.json").write_text(json.dumps({"clusters": [{"members": keys} for keys in members]}))
        known = json.loads((self.results(self.run_directory) / "graphs" / slug / "about.json").read_text())
        (directory / "about.json").write_text(json.dumps({**known, **about}))


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
        self.check_scores(graph)
        # The graphs of the other prunings stand beside it.
        self.assertEqual([(one["masks"], one["kept"], one["faithful"]) for one in graph["beside"]], [(one["masks"], one["nodes"], False) for one in graph["pruned"][1:]])
        for one in graph["beside"]:
            self.assertEqual(one["kept"], sum(node["kind"] == "subcomponent" for node in one["nodes"]))
            self.assertTrue(one["reason"])
            self.check_scores(one)

    def check_scores(self, graph):
        for name in ("replacement", "completeness"):
            self.assertGreaterEqual(graph["scores"][name], 0.0)
            self.assertLessEqual(graph["scores"][name], 1.0)

    def check_viewer(self, viewer, graph):
        validate(self, viewer, GRAPH)
        self.assertEqual(viewer["metadata"]["prompt_tokens"], graph["texts"])
        ids = [node["node_id"] for node in viewer["nodes"]]
        self.assertEqual(len(ids), len(set(ids)))
        shown = [node for node in graph["nodes"] if node["shown"]]
        self.assertEqual(len(ids), len(shown))
        layers = [int(node["layer"]) for node in viewer["nodes"] if node["layer"] != "E"]
        for node, ours in zip(viewer["nodes"], shown):
            if node["feature_type"] == "logit":
                self.assertRegex(node["clerp"], r'^Output "#?\d+" \(p=\d\.\d{3}\)$')
                self.assertEqual(int(node["layer"]), max(layers))
            if node["feature_type"] == "cross layer transcoder":
                layer, number, _ = map(int, node["node_id"].split("_"))
                self.assertEqual(node["feature"], (layer + number) * (layer + number + 1) // 2 + number)
                self.assertEqual(node["activation"], ours["F"])
        self.assertGreater(max(layers), 0)
        # Several of one feature are the same subcomponent at several positions.
        features = {}
        for node, ours in zip(viewer["nodes"], shown):
            if ours["kind"] == "subcomponent":
                features.setdefault(node["feature"], set()).add(ours["key"])
        self.assertTrue(all(len(keys) == 1 for keys in features.values()))
        for link in viewer["links"]:
            self.assertTrue(link["source"] in ids and link["target"] in ids)
        self.assertEqual(sum(node["is_target_logit"] for node in viewer["nodes"]), 1)
        return features

    def test_both_readings_and_their_check(self):
        text, graph, edges, _ = self.graph("--target", "#5@6", "--rule", "both", "--check-edges", "12", slug="both")
        other = graph["other_reading"]
        self.assertEqual((graph["rule"], other["rule"]), ("published", "complete"))
        self.assertEqual(edges["published"].values, edges["weight"].values)
        nodes = graph["nodes"]
        into = {name: {} for name in ("published", "complete")}
        for k, (source, target) in enumerate(zip(edges["source"].values, edges["target"].values)):
            for name, sums in into.items():
                if nodes[source]["kind"] == "subcomponent":
                    sums[target] = sums.get(target, 0.0) + edges[name].values[k]
            if nodes[source].get("key", "").split(":")[0].endswith(("q_proj", "k_proj")):
                self.assertEqual(edges["complete"].values[k], 0.0)
        for node, said in zip(nodes, other["nodes"], strict=True):
            self.assertEqual(node["id"], said["id"])
            if "balance" not in node:
                continue
            self.assertAlmostEqual(said["F"], node["F"], delta=1e-4 * (1 + abs(node["F"])))
            for balance, sums in ((node["balance"], into["published"]), (said["balance"], into["complete"])):
                largest = 1.0 + max(map(abs, balance.values()))
                self.assertAlmostEqual(sums.get(node["id"], 0.0), balance["kept"], delta=1e-4 * largest)
            self.assertAlmostEqual(said["balance"]["rest"], 0.0, delta=1e-4 * (1.0 + max(map(abs, said["balance"].values()))))
        for reading in (graph, other):
            check = reading["check"]
            self.assertEqual(len(check["edges"]), 12)
            ratios = [effect / claimed for _, _, claimed, effect in check["edges"]]
            self.assertEqual(check["worst_ratio"], max(ratios, key=lambda ratio: abs(ratio - 1.0)))
            self.assertLessEqual(abs(check["correlation"]), 1.0)
        self.assertIn("complete: 12 edges, correlation", text)
        self.assertNotIn("other_reading", self.graph("--rule", "complete", slug="one")[1])

    def test_generation_is_one_graph(self):
        text, graph, _, viewer = self.graph("--generate", "3", slug="said")
        validate(self, viewer, GRAPH)
        said = [target["token"] for target in graph["targets"]]
        self.assertEqual([target["at"] for target in graph["targets"]], [7, 8, 9])
        self.assertEqual((graph["tokens"], graph["said"]), ([*TOKENS, *said[:2]], 3))
        greedy = self.intervene(self.run_directory, "--ablate", "h.0.mlp.c_fc:1", tokens=graph["tokens"])
        self.assertEqual(max(greedy["next"], key=lambda one: one["target"])["token"], said[2])
        handed = {(graph["nodes"][source]["at"], graph["nodes"][source]["token"]): (graph["nodes"][target], ln_p) for source, target, ln_p in graph["handoffs"]}
        for at, token in ((7, said[0]), (8, said[1])):
            read, ln_p = handed[at, token]
            self.assertEqual((read["kind"], read["at"], read["token"]), ("embedding", at + 1, token))
            self.assertLess(ln_p, 0.0)
            self.assertGreater(ln_p, -math.log(61.0))
        self.assertIn("said, and read at the next position", text)

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


class Beside(GraphTest):
    """Files of other commands that a graph takes up, and graphs beside each other."""

    def test_features_and_clusters(self):
        self.harvest(self.run_directory)
        _, graph, _, _ = self.graph("--all-nodes", slug="first")
        keys = [node["key"] for node in graph["nodes"] if node["kind"] == "subcomponent" and node["shown"]]
        directory = self.results(self.run_directory) / "graphs" / "second"
        groups = (keys[:4], ["h.0.mlp.c_fc:1"], keys[4:6])
        self.write_clusters("first", *groups, weights={})
        self.refuse(3, ["clusters", "other weights"], "graph", self.run_directory, *PROMPT, "--all-nodes", "--slug", "second")
        self.assertFalse(directory.exists())
        self.write_clusters("first", *groups)
        _, graph, _, viewer = self.graph("--all-nodes", slug="second")
        named = {node["id"]: node for node in graph["nodes"]}
        first = graph["clusters"][0]
        self.assertEqual({named[number]["key"] for number in first["nodes"]}, set(keys[:4]))
        supernode = viewer["qParams"]["supernodes"][0]
        ids = {node["node_id"] for node in viewer["nodes"]}
        self.assertEqual(supernode[0], first["name"])
        self.assertTrue(len(supernode) > 2 and set(supernode[1:]) <= ids)
        validate(self, viewer, GRAPH)
        metadata = json.loads((directory / "graph-metadata.json").read_text())
        validate(self, metadata, METADATA)
        self.assertEqual(metadata["graphs"], [viewer["metadata"]])
        files = {int(path.stem): json.loads(path.read_text()) for path in (directory / "features").iterdir()}
        drawn = {node["feature"] for node in viewer["nodes"] if node["feature_type"] == "cross layer transcoder"}
        self.assertTrue(files and set(files) <= drawn)
        for number, feature in files.items():
            validate(self, feature, FEATURE)
            self.assertEqual(feature["index"], number)
            for group in feature["examples_quantiles"]:
                for example in group["examples"]:
                    self.assertEqual(len(example["tokens"]), len(example["tokens_acts_list"]))

    def test_two_graphs(self):
        _, a, _, _ = self.graph("--target", "#5@6", slug="a")
        longer = ("--prompt-tokens", listed([9, *TOKENS]))
        self.run_program("graph", self.run_directory, "--threads", "1", *longer, "--steps", "30", "--lambda", "0.02", "--target", "#5@7", "--slug", "b")
        b = json.loads((self.results(self.run_directory) / "graphs" / "b" / "graph.json").read_text())

        def nodes(graph, shift):
            return {(node["key"], node["at"] - shift): node for node in graph["nodes"] if node["kind"] == "subcomponent"}

        for align, shift in (("start", 0), ("end", 1)):
            text, _ = self.run_program("graph-diff", "a", "b", "--run", self.run_directory, "--align", align, "--json", "-")
            diff = json.loads(text)
            in_a, in_b = nodes(a, 0), nodes(b, shift)
            self.assertEqual({(node["key"], node["a"]["at"]) for node in diff["shared"]}, set(in_a) & set(in_b))
            self.assertEqual({(node["key"], node["a"]["at"]) for node in diff["only_a"]}, set(in_a) - set(in_b))
            self.assertEqual({(node["key"], node["b"]["at"] - shift) for node in diff["only_b"]}, set(in_b) - set(in_a))
            for node in diff["shared"]:
                self.assertEqual(node["a"]["importance"], in_a[node["key"], node["a"]["at"]]["importance"])
            self.assertLessEqual(diff["edges"]["shared"], min(diff["edges"]["a"], diff["edges"]["b"]))
        directory = self.results(self.run_directory) / "graphs" / "a"
        text, _ = self.run_program("graph-diff", directory, directory, "--json", "-", "--slug", "same")
        same = json.loads(text)
        self.assertEqual((same["only_a"], same["only_b"], len(same["shared"])), ([], [], a["kept"]))
        self.assertEqual(same["edges"]["shared"], same["edges"]["a"])
        self.assertAlmostEqual(same["edges"]["correlation"], 1.0)
        stored = json.loads((self.results(self.run_directory) / "graph_diffs" / "same" / "diff.json").read_text())
        self.assertEqual(stored, same)
        text, _ = self.run_program("graph-diff", "a", "b", "--run", self.run_directory)
        self.assertIn("in both", text)
        other = self.root / "other"
        shutil.copytree(directory, other)
        about = json.loads((other / "about.json").read_text())
        about["weights"] = {name: "0" * 64 for name in about["weights"]}
        (other / "about.json").write_text(json.dumps(about))
        self.refuse_each(3, (["same weights", "different"], "graph-diff", directory, other), (["complete rule", "--rule both"], "graph-diff", directory, directory, "--rule", "complete"),
                         (["graphs/c", "vpd graph", "names that are there: ", "a, b"], "graph-diff", "a", "c", "--run", self.run_directory),
                         (["a directory that `vpd graph` left", "--run"], "graph-diff", "a", "b"))
        self.refuse_each(2, (["--rule", "'full'"], "graph-diff", directory, directory, "--rule", "full"), (["--align"], "graph-diff", directory, directory, "--align", "middle"))


class Features(HarvestTest):
    """Targets that read features and not tokens."""

    def setUp(self):
        super().setUp()
        toys = Path(__file__).parents[2] / "configs" / "toys"
        self.toy = self.root / "tms_run"
        small = ["--set", "training.batch_size=64", "--set", "evaluation.batch_size=64"]
        self.run_program("pretrain", toys / "tms_5-2_target.yaml", "--out", self.root / "tms", "--threads", "1", "--set", "training.steps=300", "--set", "evaluation.batches=1", *small)
        self.run_program("decompose", toys / "tms_5-2.yaml", "--out", self.toy, "--set", f"target.path={self.root / 'tms'}", "--threads", "1", "--set", "training.steps=20", *small)

    def test_features_are_read(self):
        text, _ = self.run_program("graph", self.toy, "--features", "1=0.75,3=0.5", "--all-nodes", "--rule", "both", "--threads", "1", "--json", "-")
        graph = json.loads(text)
        kinds = {node["kind"] for node in graph["nodes"]}
        self.assertEqual(kinds, {"feature", "output", "delta", "subcomponent"})
        self.assertEqual({node["token"] for node in graph["nodes"] if node["kind"] == "feature"}, {1, 3})
        self.assertEqual((graph["tokens"], graph["texts"]), ([], ["input"]))
        self.assertNotIn("p", graph["pruned"][0]["verdict"]["target"])
        shares = [node["share"] for node in graph["nodes"] if node["kind"] == "output"]
        self.assertTrue(shares and 0.0 <= min(shares) and sum(shares) <= 1.000001)
        for node in graph["nodes"]:  # ReLU without norms: nothing is left over
            if "balance" in node:
                self.assertAlmostEqual(node["balance"]["rest"], 0.0, delta=1e-5 * (1.0 + max(map(abs, node["balance"].values()))))
        text, _ = self.run_program("graph", self.toy, "--features", "0=0.75", "--target", "0", "--steps", "20", "--lambda", "1e-3", "--threads", "1")
        self.assertIn("explained    output 0", text)
        self.refuse_each(2, *((words, "graph", self.toy, *more) for words, *more in (
            (["--features", "0=0.75"],), (["--features", "tokens"], "--prompt", "tea"), (["below 5", "'5=1'"], "--features", "5=1"), (["below 5", "'1'"], "--features", "1"),
            (["--target", "'x'"], "--features", "1=1", "--target", "x"))))


class Refused(GraphTest):
    def test_options(self):
        self.refuse_each(2, *((words, "graph", self.run_directory, *more) for words, *more in (
            (["--prompt or --prompt-tokens", "neither"],), (["--target", "0 to 7", "found 8"], *PROMPT, "--target", "#5@8"),
            (["'#61'", "below 61"], *PROMPT, "--target", "#61"), (["--lambda"], *PROMPT, "--lambda", "-1"), (["--masks", "'tea'"], *PROMPT, "--masks", "tea"),
            (["--compare and --all-nodes"], *PROMPT, "--compare", "--all-nodes"), (["--continuation", "tokenizer.json"], *PROMPT, "--continuation", "x"),
            (["--lambda 500000", "all", "pruned"], *PROMPT, "--lambda", "1e6", "--steps", "5", "--rate", "1"),
            (["--slug"], *PROMPT, "--slug", "a/b"), (["--generate and --continuation"], *PROMPT, "--generate", "2", "--continuation", "x"),
            (["--rule"], *PROMPT, "--rule", "tea"), (["--features", "tokens"], *PROMPT, "--features", "1=1"), (["numbers between commas"], "--prompt-tokens", "5,x"))))
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
