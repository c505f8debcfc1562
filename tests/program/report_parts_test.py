"""`vpd report` where parts of a run are missing, damaged or of another run, and where it is refused."""

import json
import shutil
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from page_support import BROWSER, embedded, tour
from report_support import ROUTES, TOYS, ReportTest, harvest_of, maker, reported, trained
from support import CONFIG
from synthetic_harvest import write_run


class Missing(ReportTest):
    """Runs that lack something: the page opens and names the command that makes it."""

    def check(self, run, *commands):
        page, told, _ = self.report(run, "--out", self.root / "report.html")
        self.assertEqual(len(told["missing"]), len(commands), told["missing"])
        for command in commands:
            self.assertTrue(any(f"`vpd {command} {run}`" in one for one in told["missing"]), told["missing"])
        if not BROWSER:
            return None
        found = tour(page, [*ROUTES, "s/h.0.mlp.c_fc:1", "selftest"])
        self.assert_sound(found)
        for command in commands:
            for route in ("limits", *(("", "sites", "subs") if command == "harvest" else ())):
                self.assertIn(f"vpd {command}", found[route]["text"], route)
        return found

    def test_no_harvest(self):
        run = self.copy()
        shutil.rmtree(run / "interpretation")
        self.check(run, "harvest")

    def test_no_evaluation(self):
        run = self.copy()
        (run / "evaluation.json").unlink()
        self.check(run, "evaluate")

    def test_no_metrics(self):
        run = self.copy()
        (run / "metrics.jsonl").unlink()
        self.check(run, "decompose --resume")

    def test_nothing_at_all(self):
        """Interrupted before its first step."""
        run = self.copy()
        for name in ("metrics.jsonl", "evaluation.json", "status.json", "provenance.json", "log.txt"):
            (run / name).unlink()
        for name in ("interpretation", "checkpoints"):
            shutil.rmtree(run / name)
        (run / "checkpoints").mkdir()
        self.check(run, "harvest", "evaluate", "decompose --resume")

    def test_a_run_that_goes_on(self):
        run = self.copy()
        shutil.rmtree(run / "interpretation")
        (run / "evaluation.json").unlink()
        status = json.loads((run / "status.json").read_text())
        (run / "status.json").write_text(json.dumps({**status, "state": "running", "step": 3, "exit_code": None, "sentence": "running"}))
        lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
        (run / "metrics.jsonl").write_text("".join(lines[:3]) + '{"step": 3, "train/lo')
        found = self.check(run, "harvest", "evaluate")
        if found:
            self.assertIn("3 of 6 steps (running)", found[""]["text"])

    def test_no_tokenizer(self):
        """Tokens are shown by number."""
        run, target, key = self.copy(), shutil.copytree(self.root / "target", self.root / "bare"), reported()[1]
        config = (run / "config.yaml").read_text()
        self.assertIn(str(maker().root / "target"), config)
        (run / "config.yaml").write_text(config.replace(str(maker().root / "target"), str(target)))
        page, told, err = self.report(run)
        self.assertIn("tokenizer.json", err)
        self.assertEqual(len(told["warnings"]), 1)
        if BROWSER:
            found = tour(page, [*ROUTES, f"s/{key}", "selftest"])
            self.assert_sound(found)
            self.assertRegex(found[f"s/{key}"]["text"], r"#\d+ ")
        self.assertEqual(self.report(run, "--tokenizer", maker().root / "target" / "tokenizer.json")[1]["warnings"], [])

    def test_a_checkpoint_that_is_gone(self):
        run = self.copy()
        before, _, _ = self.report(run, "--out", self.root / "before.html")
        shutil.rmtree(run / "checkpoints")
        (run / "checkpoints").mkdir()
        page, told, _ = self.report(run)
        self.assertEqual((told["missing"], embedded(page)[1]), ([], embedded(before)[1]))

    def test_nothing_fires(self):
        run = self.root / "quiet"
        write_run(run, CONFIG, subcomponents=0, vocabulary=100)
        page, told, _ = self.report(run)
        self.assertEqual(told["subcomponents"], 0)
        if BROWSER:
            self.assert_sound(tour(page, [*ROUTES, "selftest"]))

    def test_a_target_without_tokens(self):
        target, run = self.root / "toy", self.root / "toy_run"
        changes = ("training.steps=2", "training.batch_size=64", "evaluation.batch_size=64")
        small = [word for change in changes for word in ("--set", change)]
        self.run_program("pretrain", TOYS / "tms_5-2_target.yaml", "--out", target, *small, "--set", "evaluation.batches=1")
        self.run_program("decompose", TOYS / "tms_5-2.yaml", "--out", run, "--set", f"target.path={target}", *small)
        self.run_program("evaluate", run)
        self.run_program("harvest", run, "--positions", 1000)
        page, told, _ = self.report(run)
        self.assertEqual(told["missing"], [])
        if BROWSER:
            self.assert_sound(tour(page, [*ROUTES, "selftest", *(f"s/{site['name']}:0" for site in embedded(page)[0]["sites"])]))


def content(directory):
    """What is in it, to compare afterwards."""
    return sorted((str(path.relative_to(directory)), path.stat().st_size) for path in directory.rglob("*"))


class Refusals(ReportTest):
    def test_a_harvest_of_other_weights(self):
        run = self.copy()
        shutil.rmtree(run / "interpretation")
        shutil.copytree(trained(1) / "interpretation", run / "interpretation")
        self.refuse(3, ["about.json", "other weights", "make it again"], "report", run)
        self.assertFalse((run / "report.html").exists())

    def test_what_is_no_run(self):
        self.refuse(3, ["config.yaml"], "report", self.root / "target")
        self.refuse(3, ["nothing"], "report", self.root / "nothing")
        self.refuse(3, ["step_00000004", "vpd harvest"], "report", trained(0), "--checkpoint", 4, "--out", self.root / "a.html")

    def test_a_directory_that_is_no_report(self):
        file = self.root / "a.html"
        file.write_text("mine")
        before = content(self.root)
        self.refuse(3, ["target", "expected a new directory"], "report", trained(0), "--paged", "--out", self.root / "target")
        self.refuse(3, ["target", "expected a file", "found a directory"], "report", trained(0), "--out", self.root / "target")
        self.refuse(2, ["a.html"], "report", trained(0), "--paged", "--out", file)
        self.assertEqual(content(self.root), before)

    def test_a_directory_that_only_looks_like_a_report(self):
        """Somebody's web site has an index.html, too: it may not be lost."""
        site = self.root / "site"
        (site / "photos").mkdir(parents=True)
        (site / "index.html").write_text("<h1>mine</h1>")
        (site / "photos" / "a.txt").write_text("mine")
        self.refuse(3, ["site", "expected a new directory"], "report", trained(0), "--paged", "--out", site)
        self.assertEqual([name for name, _ in content(site)], ["index.html", "photos", "photos/a.txt"])

    def test_places_that_cannot_be_written(self):
        (self.root / "file").touch()
        before = content(self.root)
        for form in ("--single", "--paged"):
            for place in (self.root / "file", Path("/proc/vpd"), Path("/proc")):
                with self.subTest(form=form, place=str(place)):
                    self.refuse(3, [str(place)], "report", trained(0), form, "--out", place / "page")
        self.assertEqual(content(self.root), before)

    def test_usage(self):
        run = self.copy()
        before = content(run)
        for arguments in (["--single", "--paged"], ["--max-mb", "-1"], ["--max-mb", "much"], ["--tokenizer", "nothing"],
                          ["--max-mb", "nan"]):
            with self.subTest(arguments=arguments):
                self.refuse(2, [arguments[0]], "report", run, *arguments)
                self.assertEqual(content(run), before)

    def test_damaged_tables(self):
        run = self.copy()
        for name in ("subcomponents", "input_tokens", "output_tokens", "examples", "lens"):
            with self.subTest(name):
                path = harvest_of(run) / f"{name}.safetensors"
                whole_file = path.read_bytes()
                path.write_bytes(whole_file[:-5])
                self.refuse(3, [path.name], "report", run)
                path.unlink()
                self.refuse(3, [path.name], "report", run)
                path.write_bytes(whole_file)

    def test_damaged_files(self):
        for name, text in (("evaluation.json", "[1]"), ("evaluation.json", '{"step": 1, "metrics": 5}'), ("status.json", "{}"),
                           ("provenance.json", "{"), ("harvest/about.json", "{"), ("labels.json", "[]")):
            with self.subTest(name=name, text=text):
                run = self.copy(f"run_{len(text)}_{Path(name).stem}")
                (run / name if (run / name).exists() else harvest_of(run).parent / name).write_text(text)
                self.refuse(3, [name], "report", run)


if __name__ == "__main__":
    unittest.main()
