"""`vpd report`: what the page shows and keeps to itself, with and without the parts that it is made of. A browser opens it without a
display, without a network and on a clock of its own; where there is none the tests that need one are not run, and say so."""

import json
import re
import shutil
import sys
import unittest
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parent))
from page_support import BROWSER, Document, address_of, at_once, browse, embedded, needs_browser, opened, tour
from report_support import EVIL, LABEL, ROUTES, ReportTest, colours, column_of, firings, harvest_of, maker, numbers, reported, trained
from synthetic_harvest import HOSTILE


@needs_browser
class Pages(ReportTest):
    """Of a small run that has everything."""

    def routes(self):
        return [*ROUTES, f"s/{reported()[1]}", "no/such/page", "s/nothing:7"]

    def documents(self):
        return dict(zip(self.routes(), at_once(lambda route: opened(reported()[0], route), self.routes())))

    def test_every_route_opens(self):
        documents = self.documents()
        for route, document in documents.items():
            with self.subTest(route=route):
                self.assertEqual((document.root["data-ready"], document.root["data-errors"]), ("1", "0"), document.root)
        for route, words in (("no/such/page", "No such page"), ("s/nothing:7", "No such subcomponent"), (f"s/{reported()[1]}", "Fire")):
            self.assertIn(words, documents[route].text)

    def test_it_tries_itself(self):
        self.assert_tried(reported()[0])

    def test_addresses_that_are_none(self):
        """What a person may type after the name of the page, or come upon from another one."""
        odd = ["%E0%A4%A", "s/%", "subs?f=%", "s/", "?", "subs?", "subs?f=", "constructor", "s/__proto__", "S/UBS", ("health", "%"),
               ("sites", "s/%")]
        self.assert_sound(tour(reported()[0], odd))

    def test_filters_that_are_odd(self):
        texts = ["site:[", "site:(", "site:*", "site:\\", "site:[z-a]", "site:", "label:", "token:\"", "token:#", "token:#99999999",
                 "density<.", "density<1.2.3", "f1>=0.5", "g<1e-3 poly always", "\"", "*", "(", "[", "<img src=x>", "__proto__", "rows=1",
                 "a:b:c"]
        self.assert_sound(tour(reported()[0], [f"subs?f={quote(text)}" for text in texts]))

    def test_nothing_scrolls_sideways(self):
        for width in (400, 1280):
            self.assert_fits(reported()[0], self.routes(), width)

    def test_names_are_whole_on_a_telephone(self):
        """Of what fires in one site the names differ in their last digits alone."""
        for _, one in tour(reported()[0], ["subs?f=site:h.1.mlp.down_proj"], 400).items():
            self.assertIn("h.1.mlp.down_proj", one["text"])
            self.assertEqual(one["clipped"], [])

    def test_pictures_are_not_blank(self):
        page, key = reported()

        def shoot(choice):
            width, route = choice
            picture = self.root / f"{width}{re.sub('[/:]', '_', route)}.png"
            browse(address_of(page, route), f"--window-size={width},600", f"--screenshot={picture}")
            return width, picture

        for width, picture in at_once(shoot, [(width, route) for width in (1280, 400) for route in ("", f"s/{key}")]):
            self.assertEqual(colours(picture, 12), (width, max(12, colours(picture, 12)[1])), picture.name)

    def test_numbers_are_those_of_the_harvest(self):
        page, key = reported()
        run, found = trained(0), tour(page, [f"s/{key}"])[f"s/{key}"]
        harvest, column, total = harvest_of(run), column_of(run, key), len(firings(run))
        about = json.loads((harvest / "about.json").read_text())
        of = {name: numbers(harvest / "subcomponents.safetensors", name)[column::total] for name in (
            "firings", "positive_firings", "negative_firings", "rows", "importance_sum", "firing_activation_sum", "importance_histogram",
            "position_firings")}
        n, positions = of["firings"][0], sum(numbers(harvest / "input_tokens.safetensors", "marginal"))
        self.assertEqual(positions, about["positions"])
        facts = found["facts"]
        self.assertEqual(facts["Firings"], f"{n:,} of {positions:,} positions")
        self.assertEqual(facts["Rows with a firing"], f"{of['rows'][0]:,} of {about['rows']:,}")
        self.assertEqual(facts["Signs"], f"{of['positive_firings'][0]:,} +, {of['negative_firings'][0]:,} \u2212")
        for name, value in (("Mean importance", of["importance_sum"][0] / positions), ("Density", 100 * n / positions),
                            ("Activation where it fires", of["firing_activation_sum"][0] / n)):
            self.assert_close(facts[name].split()[0], value)

        table = {tuple(rows[0][:2]): rows[1:] for rows in found["tables"]}
        self.assertEqual([whole(row[1]) for row in table["importance up to", "positions"]], list(of["importance_histogram"][:21]))
        rates = table["from position", "density"]
        self.assertFalse(any(of["position_firings"][len(rates):]))
        ends = [int(begin) for begin, _ in rates[1:]] + [about["row_length"]]
        for (begin, rate), end, count in zip(rates, ends, of["position_firings"]):
            self.assert_close(rate, count / (about["rows"] * (end - int(begin))))
        place = numbers(harvest / "input_tokens.safetensors", "subcomponent").index(column)
        begin, end = numbers(harvest / "input_tokens.safetensors", "offsets")[place:place + 2]
        counts = sorted(numbers(harvest / "input_tokens.safetensors", "count")[begin:end], reverse=True)
        self.assertEqual(sum(counts), n)
        shown = sorted((whole(row[1]) for row in table["Token", "Times"]), reverse=True)
        self.assertEqual(shown[:6], counts[:6])
        for _, times, recall, *_ in table["Token", "Times"]:
            self.assert_close(recall.split()[0], 100 * whole(times) / n)

    def assert_close(self, shown, value):
        """A number of three digits."""
        self.assertLessEqual(abs(float(shown.replace(",", "")) - value), 0.0051 * abs(value) + 1e-12, (shown, value))

    def test_hostile_texts_stay_texts(self):
        page, key = reported()
        own = [tag for tag, _ in Document(page.read_text()).elements if tag == "script"]
        for route, document in self.documents().items():
            with self.subTest(route=route):
                tags = [tag for tag, _ in document.elements]
                self.assertEqual([tag for tag in tags if tag == "script"], own)
                self.assertFalse({"img", "iframe", "object", "embed", "base", "frame", "video"} & set(tags))
                self.assertEqual([names for _, names in document.elements if any(name.startswith("on") for name in names)], [])
                self.assert_not_steered(document.text, *(value for _, names in document.elements for value in names.values()))
        # They are there, to be read.
        seen = "".join(document.text for document in self.documents().values())
        for text in (HOSTILE[0], HOSTILE[1], "{{META}}", "[202e]esrever", "a[2028]b"):
            self.assertIn(text, seen)
        self.assertIn("</script><img src=x onerror=window.hostile=1>{{META}} \"'\\", opened(page, f"s/{key}").text)

    def test_hostile_files(self):
        """Labels and figures that somebody edited, in a directory of such a name."""
        run, key = self.copy(f"{EVIL}{{{{TITLE}}}}\"&amp;"), reported()[1]
        (harvest_of(run).parent / "labels.json").write_text(json.dumps({key: {"label": LABEL}, "\u202e": {"label": "x"}}))
        evaluation, provenance = (json.loads((run / name).read_text()) for name in ("evaluation.json", "provenance.json"))
        evaluation["metrics"][f"pgd/{EVIL}"] = 0.5
        evaluation["budgets"] = {f"pgd/{EVIL}": f"2 \u00d7 {EVIL}", **evaluation["budgets"]}
        provenance.update(command_line=EVIL, device=EVIL, start_time=EVIL)
        (run / "evaluation.json").write_text(json.dumps(evaluation))
        (run / "provenance.json").write_text(json.dumps(provenance))
        with open(run / "metrics.jsonl", "a") as file:
            file.writelines(json.dumps({"step": step, f"train/loss/{EVIL}": 1 / step}) + "\n" for step in (7, 8, 9))
        page, _, _ = self.report(run, "--out", self.root / "hostile.html")
        self.assert_sound(tour(page, [*ROUTES, f"s/{key}", "selftest"]))


def whole(text):
    return int(text.replace(",", ""))


class File(ReportTest):
    """What is written."""

    def test_no_address_of_a_network(self):
        text = reported()[0].read_text()
        for tag, attributes in Document(text).elements:
            for name in ("src", "href", "action", "data", "poster", "srcset"):
                self.assertNotRegex(attributes.get(name, ""), r"^\s*(https?:|//|ftp:|ws)", tag)
            self.assertFalse(tag == "link" or (tag == "script" and "src" in attributes), attributes)
        self.assertNotRegex(text, r"url\(|@import")

    def test_policy(self):
        policies = [attributes["content"] for tag, attributes in Document(reported()[0].read_text()).elements
                    if tag == "meta" and attributes.get("http-equiv", "").lower() == "content-security-policy"]
        self.assertEqual(len(policies), 1)
        parts = dict(part.strip().split(" ", 1) for part in policies[0].split(";"))
        self.assertEqual({parts[name] for name in ("default-src", "connect-src", "base-uri", "form-action")}, {"'none'"})
        self.assertNotRegex(policies[0], r"http|\*|unsafe-eval")

    def test_what_json_tells(self):
        page, _ = reported()
        told = json.loads((maker().root / "report.json").read_text())
        self.assertEqual((told["page"], told["bytes"], told["paged"], told["missing"]), (str(page), page.stat().st_size, False, []))
        self.assertEqual(told["subcomponents"], sum(n > 0 for n in firings(trained(0))))
        out, _ = self.run_program("report", trained(0), "--out", self.root / "again.html", "--json", "-")
        self.assertEqual(json.loads(out)["bytes"], page.stat().st_size)
        self.assertEqual((self.root / "again.html").read_bytes(), page.read_bytes())

    def test_all_alive_subcomponents_are_there(self):
        meta, subs = embedded(reported()[0])
        per = numbers(harvest_of(trained(0)) / "examples.safetensors", "offsets")
        self.assertEqual(len(subs), meta["harvest"]["alive"])
        self.assertEqual([len(sub["e"]) for sub in subs], [min(3, end - begin) for begin, end in zip(per, per[1:])])

    def test_where_it_lies(self):
        """Without --out beside the run's other files, and again over the older one."""
        run = self.copy()
        for _ in range(2):
            self.assertEqual(self.report(run)[0], run / "report.html")
            self.assertEqual(self.report(run, "--paged")[0], run / "report" / "index.html")
        self.assertFalse([path.name for path in run.iterdir() if path.name.startswith(".tmp")])

    def test_many_files(self):
        page, told, _ = self.report(trained(0), "--paged", "--out", self.root / "pages")
        self.assert_many_files(page, told, harvest_of(trained(0)))
        if not BROWSER:
            return
        self.assert_tried(page)
        key, examples = reported()[1], harvest_of(trained(0)) / "examples.safetensors"
        place = numbers(examples, "subcomponent").index(column_of(trained(0), key))
        begin, end = numbers(examples, "offsets")[place:place + 2]
        self.assertEqual(len(re.findall(r"row [\d,]+, position", opened(page, f"s/{key}").text)), end - begin)

    @needs_browser
    def test_a_file_that_was_lost(self):
        """The page says so, whether it is opened there or gone to."""
        page, _, _ = self.report(trained(0), "--paged", "--out", self.root / "pages")
        shutil.rmtree(page.parent / "data")
        key = reported()[1]
        for way, one in tour(page, ["subs", f"s/{key}", ("subs", f"s/{key}")]).items():
            with self.subTest(way=way):
                self.assertEqual(one["ready"], "1")
                self.assertEqual("data/000.js is missing" in one["text"], way != "subs")

    def test_too_large_for_one_file(self):
        run = self.copy()
        for form, place, words in (((), "report/index.html", "several"), (("--single",), "report.html", "--paged")):
            with self.subTest(form=form):
                page, told, err = self.report(run, "--max-mb", "0.1", *form)
                self.assertEqual((page, told["paged"]), (run / place, not form))
                self.assertRegex(err, f"warning: .*--max-mb.*{words}")
                self.assertEqual(len(told["warnings"]), 1)


if __name__ == "__main__":
    unittest.main()
