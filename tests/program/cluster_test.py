"""`vpd cluster`: what it leaves agrees with itself and with the importances that the run's harvest counted, and what cannot be grouped is
refused. Merges have references in tests/interpretation."""

import json
import math
import signal
import struct
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from interpretation_support import HarvestTest, load
from page_support import needs_browser, tour
from support import PROGRAM, read_safetensors, write_safetensors

FILES = {"clusters.json", "merges.safetensors", "groups.safetensors", "about.json"}


class ClusterTest(HarvestTest):
    def setUp(self):
        super().setUp()
        self.run_directory = self.make_run()

    def cluster(self, *arguments, run=None):
        run = run or self.run_directory
        out, err = self.run_program("cluster", run, "--threads", "1", *arguments)
        directory = self.results(run) / "clusters"
        self.assertEqual({path.name for path in directory.iterdir()}, FILES)
        return json.loads((directory / "clusters.json").read_text()), load(directory / "merges.safetensors"), load(directory / "groups.safetensors"), out + err

    def about(self, run=None):
        return json.loads((self.results(run or self.run_directory) / "clusters" / "about.json").read_text())


class Found(ClusterTest):
    def keys(self):
        """site:c of each column of all."""
        self.harvest(self.run_directory)
        sites = json.loads((self.results(self.run_directory) / "harvest" / "about.json").read_text())["sites"]
        return [f"{site['name']}:{c}" for site in sites for c in range(site["C"])]

    def test_what_it_leaves(self):
        found, merges, groups, said = self.cluster("--alpha", "1,3", "--seeds", "3")
        keys = self.keys()
        alive, group = groups["subcomponent"].values, groups["group"].values
        self.assertEqual((found["positions"], found["rows"], found["per_row"]), (51, 3, 17))  # all there are
        self.assertEqual(found["subcomponents"], len(alive))
        # Merges lead to the groups: of the first alpha, and of the second beside.
        for place, prefix in enumerate(("", "alpha_3/")):
            left, right, delta, total = (merges[prefix + name].values for name in ("left", "right", "delta", "total"))
            self.assertEqual(len(left), len(alive) - 1)
            self.assertEqual(len(total), len(alive))
            self.assertTrue(all(math.isclose(a + d, b, rel_tol=1e-9) for a, d, b in zip(total, delta, total[1:])))
            best = total.index(min(total))
            name = {column: column for column in alive}
            for a, b in zip(left[:best], right[:best]):
                self.assertLess(a, b)
                name = {column: a if of == b else of for column, of in name.items()}
            self.assertEqual([name[column] for column in alive], groups[prefix + "group"].values)
            one = found["alphas"][place]
            self.assertEqual(one["groups"], len(alive) - best)
            self.assertEqual(one["groups"], one["clusters"] + one["loose"] + one["alone"])
            self.assertAlmostEqual(one["bits"], total[best])
            self.assertIn(f"{one['groups']}", said)
        # Clusters are the groups of two or more.
        members = {}
        for column, of in zip(alive, group):
            members.setdefault(of, []).append(keys[column])
        listed = {one["group"]: one for one in found["clusters"] + found["loose"]}
        self.assertEqual({of: some for of, some in members.items() if len(some) > 1}, {of: one["members"] for of, one in listed.items()})
        for one in listed.values():
            self.assertEqual(one["sites"], sorted({key.rsplit(":", 1)[0] for key in one["members"]}))
            for figure in ("cohesion", "within_density", "stability"):
                self.assertTrue(0.0 <= one[figure] <= 1.0, (figure, one))
            self.assertGreaterEqual(one["within_density"], 1.0 / len(one["members"]) - 1e-12)
        self.assertTrue(all(one["cohesion"] >= 0.1 for one in found["clusters"]))
        self.assertTrue(all(one["cohesion"] < 0.1 for one in found["loose"]))
        self.assertEqual(len(found["adjusted_rand"]), 2)
        about = self.about()
        self.assertEqual(about["settings"]["alpha"], [1, 3])
        self.assertEqual(set(about["weights"]), {"decomposition.safetensors", "causal_importance.safetensors"})

    def test_events_are_those_that_a_harvest_counts(self):
        found, _, groups, _ = self.cluster("--threshold", "0.1", "--seeds", "1")
        self.harvest(self.run_directory)
        harvest = self.results(self.run_directory) / "harvest" / "subcomponents.safetensors"
        firings = load(harvest)["firings"].values
        self.assertEqual(found["events"], sum(firings))
        self.assertEqual(groups["subcomponent"].values, [column for column, count in enumerate(firings) if count])
        self.assertIsNone(found["clusters"][0]["stability"])

    def test_options_that_change_what_is_grouped(self):
        within, _, groups, _ = self.cluster("--within", "h.1.mlp.*", "--greedy")
        self.assertTrue(all(site.startswith("h.1.mlp.") for one in within["clusters"] for site in one["sites"]))
        self.assertEqual(within["adjusted_rand"], [])
        self.assertIsNone(self.about()["settings"]["gamma"])
        together, _, _, _ = self.cluster("--require-coactivation", "--seeds", "1")
        self.assertTrue(all(one["cohesion"] > 0 for one in together["clusters"] + together["loose"]))
        few, _, _, said = self.cluster("--positions", "12", "--per-row", "4", "--seeds", "1")
        self.assertEqual((few["positions"], few["rows"], few["per_row"]), (12, 3, 4))
        _, _, _, said = self.cluster("--positions", "1e6", "--seeds", "1")
        self.assertIn("--positions 1000000: 17 of a row are only 51, and all are taken", said)

    def test_labels_of_members(self):
        found, _, _, _ = self.cluster("--seeds", "1")
        first = found["clusters"][0]
        self.harvest(self.run_directory)
        self.run_program("labels", "set", self.run_directory, first["members"][1], "verbs of motion")
        found, _, _, said = self.cluster("--seeds", "1")
        self.assertEqual(next(one for one in found["clusters"] if one["group"] == first["group"])["label"], "verbs of motion")

    def test_twice_the_same(self):
        """With other threads, and whatever was there before."""
        self.cluster("--seed", "3", "--seeds", "2")
        directory = self.results(self.run_directory) / "clusters"
        before = {name: (directory / name).read_bytes() for name in ("merges.safetensors", "groups.safetensors")}
        self.run_program("cluster", self.run_directory, "--threads", "2", "--seed", "3", "--seeds", "2")
        self.assertTrue(all((directory / name).read_bytes() == data for name, data in before.items()))
        self.cluster("--seed", "4", "--seeds", "2")
        self.assertFalse((directory / "merges.safetensors").read_bytes() == before["merges.safetensors"])

    def test_dry_run(self):
        text, _ = self.run_program("cluster", self.run_directory, "--dry-run", "--within", "h.0.*", "--json", "-")
        forecast = json.loads(text)
        self.assertEqual((forecast["positions"], forecast["subcomponents"]), (51, 40 + 37 + 4 * 16))
        self.assertGreater(forecast["operations"], 0)
        self.assertFalse((self.run_directory / "interpretation").exists())


class Page(ClusterTest):
    @needs_browser
    def test_page(self):
        self.harvest(self.run_directory)
        found, _, _, _ = self.cluster("--alpha", "1,2", "--seeds", "2")
        self.run_program("report", self.run_directory, "--out", "page.html")
        cluster = found["clusters"][0]
        for width in (400, 1280):
            pages = tour(self.root / "page.html", ["clusters", f"clusters?of={cluster['members'][0]}", f"s/{cluster['members'][0]}", "selftest"], width)
            for way, page in pages.items():
                self.assertEqual((page["ready"], page["errors"], page["last"]), ("1", "0", ""), way)
                self.assertLessEqual(page["needed"], page["width"] + 1, (way, page["wide"]))
            self.assertEqual(pages["selftest"]["failed"], [])
            self.assertEqual(pages["clusters"]["facts"]["Groups"], f"{found['alphas'][0]['groups']}of {found['subcomponents']} subcomponents")
            self.assertIn(cluster["members"][1], pages[f"s/{cluster['members'][0]}"]["text"])
            table = next(rows for rows in pages["clusters"]["tables"] if "Cohesion" in rows[0])
            numbers = [int(row[1]) for row in table[1:]]
            self.assertEqual(sorted(numbers, reverse=True), numbers)
            self.assertEqual(len(numbers), len(found["clusters"]))


class Refused(ClusterTest):
    def test_options(self):
        self.refuse_each(2, *((words, "cluster", self.run_directory, *more) for words, *more in (
            (["--alpha: expected a number of at least 0, found -1"], "--alpha", "-1"), (["--alpha: expected a number of at least 0, found nan"], "--alpha", "nan"),
            (["--alpha: expected each number once, found 2 twice"], "--alpha", "2,1,2"), (["--gamma: expected a number above 0, found 0"], "--gamma", "0"),
            (["--threshold: expected a number of at least 0 and below 1"], "--threshold", "1"), (["--seeds"], "--seeds", "0"), (["--greedy", "--seeds"], "--greedy", "--seeds", "3"),
            (["--greedy", "--gamma"], "--greedy", "--gamma", "1"), (["--split: expected eval or train", '"test"'], "--split", "test"), (["--per-row"], "--per-row", "0"),
            (["--within 'h.0.mlp.c_fd'", "h.0.mlp.c_fc"], "--within", "h.0.mlp.c_fd"), (["--require-coactivation"], "--require-coactivatoin"))))
        self.assertFalse((self.run_directory / "interpretation").exists())

    def test_runs(self):
        self.refuse(3, ["nowhere", "expected the directory of a run"], "cluster", "nowhere")
        self.refuse(3, ["expected a checkpoint of step 5, found those of 0"], "cluster", self.run_directory, "--checkpoint", "5")
        self.refuse(3, ["none.npy"], "cluster", self.run_directory, "--tokens", self.root / "none.npy")
        self.assertFalse((self.run_directory / "interpretation").exists())

    def test_nothing_is_important(self):
        path = self.run_directory / "checkpoints" / "step_00000000" / "causal_importance.safetensors"
        tensors = read_safetensors(path)
        dtype, shape, data = tensors["proj_out.bias"]
        tensors["proj_out.bias"] = [dtype, shape, struct.pack("<f", -1000.0) * (len(data) // 4)]
        write_safetensors(path, tensors)
        words = ["expected two subcomponents or more", "above 0.01 at one of 51 positions", "found 0; lower --threshold"]
        self.refuse(3, words, "cluster", self.run_directory)
        self.assertFalse((self.run_directory / "interpretation").exists())

    def test_more_memory_than_there_is(self):
        process = self.start("cluster", self.run_directory, environment={"SLURM_JOB_ID": "1", "SLURM_MEM_PER_NODE": "1"})
        _, err = self.finish(process, 2)
        self.assertRegex(err, r"clustering \d+ subcomponents at 51 positions takes .* more than the 1 MiB .*choose fewer sites with --within, or fewer --positions")
        self.assertFalse((self.run_directory / "interpretation").exists())

    def test_interrupted(self):
        """While it merges, which many seeds make long; what an earlier clustering left stays."""
        self.cluster("--seeds", "1")
        before = (self.results(self.run_directory) / "clusters" / "clusters.json").read_bytes()
        process = subprocess.Popen([PROGRAM, "cluster", self.run_directory, "--seeds", "1000000"], stderr=subprocess.PIPE, text=True)
        while "clustering" not in (line := process.stderr.readline()):
            self.assertTrue(line, "the program ended")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, errors)
        self.assertIn("the clustering was interrupted", errors)
        self.assertEqual([path.name for path in self.results(self.run_directory).iterdir()], ["clusters"])
        self.assertTrue((self.results(self.run_directory) / "clusters" / "clusters.json").read_bytes() == before)


if __name__ == "__main__":
    unittest.main()
