"""`vpd attributions` and `vpd interactions`: what they leave agrees with itself, other commands' files are used, and what cannot be done is
refused. Their numbers have references in tests/interpretation."""

import json
import math
import signal
import struct
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from interpretation_support import HarvestTest, Shared, load
from page_support import needs_browser, tour
from support import PROGRAM

COLUMNS = 282
COUNT = 61 * 50000  # tokens, enough to interrupt
TOYS = Path(__file__).parents[2] / "configs" / "toys"


class WiringTest(HarvestTest):
    def setUp(self):
        super().setUp()
        self.run_directory = self.make_run()

    def attributions(self, *arguments, slug="published"):
        text, warnings = self.run_program("attributions", self.run_directory, "--threads", "1", *arguments)
        directory = self.results(self.run_directory) / "attributions" / slug
        return text, warnings, directory

    def interactions(self, *arguments):
        text, _ = self.run_program("interactions", self.run_directory, "--threads", "1", *arguments)
        directory = self.results(self.run_directory) / "interactions"
        return text, json.loads((directory / "interactions.json").read_text()), directory


class Attributions(WiringTest):
    def test_files(self):
        text, warnings, directory = self.attributions("--absolute", "--full", "--top", "1000", "--token", "#5")
        self.assertIn("no harvest", warnings)
        self.assertEqual({path.name for path in directory.iterdir()}, {"about.json", "attributions.json", "edges.safetensors", "full.safetensors",
                                                                       "norms.safetensors", "outputs.safetensors"})
        edges, norms, full = (load(directory / f"{name}.safetensors") for name in ("edges", "norms", "full"))
        self.assertEqual(set(edges), {"target", "source", "sum", "normalised", "absolute"})
        self.assertEqual(len(norms["importance_sum"].values), COLUMNS)
        about = json.loads((directory / "about.json").read_text())
        self.assertEqual(sum(norms["token_count"].values), about["data"]["rows"] * about["data"]["row_length"])
        # Each edge's figure is its sum over the two norms, and stands in the whole sums, too.
        place = {}
        for name, tensor in full.items():
            if name.startswith("subcomponents/"):
                for i, column in enumerate(tensor.values):
                    place[column] = (name.split("/")[1], i)
        self.assertEqual(sorted(place), list(range(COLUMNS)))
        seen = 0
        for target, source, total, normalised, absolute in zip(*(edges[name].values for name in ("target", "source", "sum", "normalised", "absolute"))):
            weight = norms["importance_sum"].values[source] if source < COLUMNS else norms["token_count"].values[source - COLUMNS]
            self.assertTrue(math.isclose(normalised, total / weight / norms["activation_rms"].values[target], rel_tol=1e-5))
            (to, c), (fro, r) = place[target], place[source] if source < COLUMNS else ("embedding", source - COLUMNS)
            if source >= COLUMNS:
                self.assertGreaterEqual(norms["token_count"].values[source - COLUMNS], 10)
            whole = full[f"{fro}->{to}"]
            self.assertTrue(math.isclose(whole.values[r * whole.shape[1] + c], total, rel_tol=1e-5, abs_tol=1e-12))
            size = full[f"absolute/{fro}->{to}"]
            self.assertTrue(math.isclose(size.values[r * size.shape[1] + c], absolute, rel_tol=1e-5, abs_tol=1e-12))
            seen += 1
        self.assertGreater(seen, 1000)
        told = json.loads((directory / "attributions.json").read_text())
        strongest = [abs(edge["normalised"]) for edge in told["strongest"]]
        self.assertEqual(strongest, sorted(strongest, reverse=True))
        self.assertIn(told["strongest"][0]["source"], text)
        self.assertIn("contrasts", text)
        self.assertEqual(told["tokens"][0]["token"], 5)
        self.assertIn("into the logit of #5", text)

    def test_few_sources(self):
        _, _, directory = self.attributions("--top", "3", "--slug", "few", slug="few")
        targets, sources = (load(directory / "edges.safetensors")[name].values for name in ("target", "source"))
        for target in set(targets):
            own = [s for t, s in zip(targets, sources) if t == target]
            self.assertLessEqual(sum(s < COLUMNS for s in own), 3)
            self.assertLessEqual(sum(s >= COLUMNS for s in own), 3)
        self.assertFalse((directory / "full.safetensors").exists())

    def test_complete_has_no_queries(self):
        _, _, directory = self.attributions("--rule", "complete", "--full", slug="complete")
        names = set(load(directory / "full.safetensors"))
        self.assertIn("h.0.attn.v_proj->h.0.attn.o_proj", names)
        self.assertNotIn("h.0.attn.q_proj->h.0.attn.o_proj", names)

    def test_alive_ones_of_a_harvest(self):
        self.harvest(self.run_directory)
        _, warnings, directory = self.attributions("--full")
        self.assertNotIn("warning", warnings)
        firings = load(self.results(self.run_directory) / "harvest" / "subcomponents.safetensors")["firings"].values
        alive = {column for column, count in enumerate(firings) if count > 0}
        full = load(directory / "full.safetensors")
        looked = {column for name, tensor in full.items() if name.startswith("subcomponents/") for column in tensor.values}
        self.assertEqual(looked, alive)

    def test_positions(self):
        _, _, directory = self.attributions("--positions", "17")
        about = json.loads((directory / "about.json").read_text())
        length = about["data"]["row_length"]
        self.assertEqual(about["data"]["rows"], -(-17 // length))

    def test_refusals(self):
        self.refuse_each(2, *((words, "attributions", self.run_directory, *more) for words, *more in (
            (["--rule"], "--rule", "tea"), (["--slug"], "--slug", "a/b"), (["'#61'", "below 61"], "--token", "#61"), (["--threshold"], "--threshold", "1"),
            (["--split"], "--split", "tea"), (["--positions"], "--positions", "0"))))
        self.assertFalse((self.run_directory / "interpretation").exists())

    def test_interrupted(self):
        """Nothing is left, not even a part."""
        tokens = self.root / "many.npy"
        header = f"{{'descr': '<u2', 'fortran_order': False, 'shape': ({COUNT},), }}".ljust(117) + "\n"
        tokens.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + struct.pack("<61H", *range(61)) * (COUNT // 61))
        process = subprocess.Popen([PROGRAM, "attributions", self.run_directory, "--tokens", tokens, "--positions", "1e12"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while "summing up" not in process.stderr.readline():
            self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, errors)
        self.assertFalse((self.run_directory / "interpretation").exists())


class DryRun(WiringTest):
    def test_says_what_it_would_take_and_writes_nothing(self):
        for command in (("attributions", "--absolute"), ("interactions", "--curvature")):
            with self.subTest(command[0]):
                out = self.root / f"{command[0]}.json"
                text, _ = self.run_program(command[0], self.run_directory, *command[1:], "--dry-run", "--json", out)
                self.assertIn("measured on the first batches", text)
                forecast = json.loads(out.read_text())
                self.assertEqual(forecast["positions"], forecast["rows"] * forecast["row_length"])
                self.assertGreater(forecast["seconds"], 0.0)
                self.assertGreater(forecast["memory_bytes"], 0)
                self.assertFalse((self.results(self.run_directory) / command[0]).exists())


class Interactions(WiringTest):
    def test_files(self):
        text, told, directory = self.interactions("--curvature")
        self.assertEqual({path.name for path in directory.iterdir()}, {"about.json", "interactions.json", "h.0.mlp.c_fc.safetensors", "h.1.mlp.c_fc.safetensors"})
        for table in told["tables"]:
            tensors = load(directory / f"{table['site']}.safetensors")
            self.assertEqual(set(tensors), {"subcomponent", "firings", "strength", "weight_overlap", "activation_overlap", "curvature", "row_sum", "column_sum"})
            A = len(tensors["subcomponent"].values)
            often = [i for i in range(A) if tensors["firings"].values[i] >= 10]
            self.assertEqual((A, A - len(often), len(often) * (A - 1)), (table["alive"], table["few"], table["pairs"]))
            self.assertTrue(all(count > 0 for count in tensors["firings"].values))
            strength = tensors["strength"].rows()
            off = [x for i in often for j, x in enumerate(strength[i]) if i != j]
            self.assertTrue(all(abs(strength[i][i] - 1) < 1e-5 for i in range(A)))
            self.assertAlmostEqual(table["above_0.1"], sum(x > 0.1 for x in off) / len(off), places=6)
            self.assertAlmostEqual(table["above_1"], sum(x > 1 for x in off) / len(off), places=6)
            self.assertTrue(math.isclose(table["mean"], sum(off) / len(off), rel_tol=1e-5))
            self.assertEqual(sum(table["histogram"]["counts"]), len(off))
            self.assertTrue(math.isclose(table["strongest"][0]["strength"], max(off), rel_tol=1e-5))
            for i in often:
                self.assertTrue(math.isclose(tensors["row_sum"].values[i], sum(strength[i]) - strength[i][i], rel_tol=1e-4, abs_tol=1e-6))
            self.assertIn(table["strongest"][0]["row"], text)

    def test_one_site(self):
        _, told, directory = self.interactions("--site", "h.1.*")
        self.assertEqual([table["site"] for table in told["tables"]], ["h.1.mlp.c_fc"])
        self.assertNotIn("curvature", load(directory / "h.1.mlp.c_fc.safetensors"))

    def test_clusters(self):
        """In their order, and how much of all strength lies inside them."""
        self.refuse(3, ["--order clusters", "vpd cluster"], "interactions", self.run_directory, "--order", "clusters")
        _, told, directory = self.interactions("--site", "h.0.mlp.c_fc")
        self.assertNotIn("clusters", told["tables"][0])
        tensors = load(directory / "h.0.mlp.c_fc.safetensors")
        columns, strength = tensors["subcomponent"].values, tensors["strength"].rows()
        first = columns[0]  # the site's columns are one after another
        offset = 64
        members = [[f"h.0.mlp.c_fc:{columns[i] - offset}" for i in group] for group in ((5, 1, 3), (0, 2))]
        clusters = self.results(self.run_directory) / "clusters"
        clusters.mkdir()
        about = json.loads((directory / "about.json").read_text())
        (clusters / "clusters.json").write_text(json.dumps({"clusters": [{"members": keys} for keys in members]}))
        (clusters / "about.json").write_text(json.dumps({"weights": about["weights"]}))
        _, told, directory = self.interactions("--site", "h.0.mlp.c_fc", "--order", "clusters")
        ordered = load(directory / "h.0.mlp.c_fc.safetensors")["subcomponent"].values
        self.assertEqual(ordered[:5], [columns[i] for i in (1, 3, 5, 0, 2)])
        self.assertEqual(sorted(ordered), columns)
        self.assertGreaterEqual(first, offset)
        often = [i for i, count in enumerate(tensors["firings"].values) if count >= 10]
        inside = [(i, j) for group in ((5, 1, 3), (0, 2)) for i in group for j in group if i != j and i in often]
        self.assertTrue(inside)
        total = sum(x for i in often for j, x in enumerate(strength[i]) if i != j)
        found = told["tables"][0]["clusters"]
        self.assertTrue(math.isclose(found["strength_inside"], sum(strength[i][j] for i, j in inside) / total, rel_tol=1e-4))
        self.assertTrue(math.isclose(found["pairs_inside"], len(inside) / told["tables"][0]["pairs"], rel_tol=1e-6))
        (clusters / "about.json").write_text(json.dumps({"weights": {}}))
        self.refuse(3, ["other weights"], "interactions", self.run_directory)

    def test_refusals(self):
        self.refuse_each(2, *((words, "interactions", self.run_directory, *more) for words, *more in (
            (["h.0.mlp.down_proj", "feed none", "h.0.mlp.c_fc"], "--site", "h.0.mlp.down_proj"), (["--site", "found none that it matches"], "--site", "tea"),
            (["--order", "tea"], "--order", "tea"), (["--threshold"], "--threshold", "1"))))


class Families(Shared):
    def test_gated_ones(self):
        """A gate with itself, what it gates with itself, and the two with each other."""
        run = self.family("llama")
        text, _ = self.run_program("interactions", run, "--threads", "1", "--site", "layers.0.mlp.*", "--threshold", "0", "--curvature")
        directory = self.results(run) / "interactions"
        told = json.loads((directory / "interactions.json").read_text())
        gate, up = "layers.0.mlp.gate_proj", "layers.0.mlp.up_proj"
        self.assertEqual([(table["site"], table["columns"]) for table in told["tables"]], [(gate, gate), (gate, up), (up, up)])
        tensors = load(directory / f"{gate}.safetensors")
        self.assertEqual(tensors["gated_strength"].shape, [len(tensors["subcomponent"].values), len(tensors["gated_subcomponent"].values)])
        self.assertNotIn("gated_strength", load(directory / f"{up}.safetensors"))
        self.assertIn(f"{gate} with {up}", text)



class Toys(HarvestTest):
    def test_without_a_stream(self):
        """Edges of prompts are summed, and it is said; no matrix of it is known to feed a function."""
        small = ("--set", "training.steps=2", "--set", "training.batch_size=64", "--set", "evaluation.batch_size=64")
        self.run_program("pretrain", TOYS / "tms_5-2_target.yaml", "--out", self.root / "tms", *small, "--set", "evaluation.batches=1")
        run = self.root / "run"
        self.run_program("decompose", TOYS / "tms_5-2.yaml", "--out", run, "--set", f"target.path={self.root / 'tms'}", *small)
        text, warnings = self.run_program("attributions", run, "--positions", "500", "--full")
        self.assertIn("no residual stream", warnings)
        self.assertIn("linear1:", text)
        full = load(next((run / "interpretation").glob("step_*")) / "attributions" / "published" / "full.safetensors")
        self.assertEqual({name for name in full if "->" in name}, {"linear1->linear2", "linear1->output", "linear2->output"})
        self.assertTrue(any(full["linear1->linear2"].values))
        self.refuse(3, ["elementwise function", "found none"], "interactions", run)
        self.refuse(2, ["--token"], "attributions", run, "--token", "#1")


class Page(WiringTest):
    @needs_browser
    def test_page(self):
        self.harvest(self.run_directory)
        _, _, directory = self.attributions()
        self.attributions("--rule", "complete", slug="complete")
        self.interactions("--curvature")
        self.run_program("report", self.run_directory, "--out", "page.html")
        edge = json.loads((directory / "attributions.json").read_text())["strongest"][0]
        key = edge["target"]
        for width in (400, 1280):
            found = tour(self.root / "page.html", ["attributions", "attributions?r=published", "interactions", f"s/{key}", "selftest"], width)
            for way, page in found.items():
                self.assertEqual((page["ready"], page["errors"], page["last"]), ("1", "0", ""), way)
                self.assertLessEqual(page["needed"], page["width"] + 1, (way, page["wide"]))
            self.assertIn("contrasts", found["attributions?r=published"]["text"])
            self.assertIn(edge["source"], found["attributions?r=published"]["text"])
            self.assertIn("bend the same neurons", found["interactions"]["text"])
            self.assertIn("Fed by", found[f"s/{key}"]["text"])


if __name__ == "__main__":
    unittest.main()
