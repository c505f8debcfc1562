"""The JSON Schemas say of real and of damaged configurations what the program says, and docs/configuration.md is what the program
would write today."""

import copy
import json
import re
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from support import CONFIG, PROGRAM, ProgramTest

ROOT = Path(__file__).parents[2]
TYPES = {"object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "boolean": bool, "null": type(None)}


def say(*arguments):
    return subprocess.run([PROGRAM, "schema", *arguments], text=True, check=True, capture_output=True).stdout


def fits(value, schema):
    """Whether `value` is valid under the part of JSON Schema that the program's schemas use."""
    if "anyOf" in schema and not any(fits(value, option) for option in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(fits(value, option) for option in schema["oneOf"]) != 1:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if "type" in schema:
        whole = schema["type"] == "integer" and isinstance(value, float) and value.is_integer()
        if not (isinstance(value, TYPES[schema["type"]]) or whole):
            return False
        if isinstance(value, bool) and schema["type"] in ("number", "integer"):
            return False
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            return False
        if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
            return False
        if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
            return False
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0) or ("pattern" in schema and not re.search(schema["pattern"], value)):
            return False
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0) or not all(fits(item, schema.get("items", {})) for item in value):
            return False
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        if any(key not in value for key in schema.get("required", [])):
            return False
        for key, item in value.items():
            inside = known.get(key, others)
            if inside is False or not fits(item, inside):
                return False
    return True


class Schema(ProgramTest):
    @classmethod
    def setUpClass(cls):
        cls.schema = json.loads(say())

    def says(self, config):
        """Whether the program accepts the configuration as such: exit code 2 is a complaint about it."""
        path = self.root / "config.json"
        path.write_text(json.dumps(config))
        return subprocess.run([PROGRAM, "check", path], capture_output=True).returncode != 2

    def test_what_the_program_accepts(self):
        self.assertTrue(fits(CONFIG, self.schema))
        self.assertTrue(self.says(CONFIG))
        self.run_program("check", self.configure(), "--json", self.root / "report.json")
        resolved = json.loads((self.root / "report.json").read_text())["config"]
        self.assertTrue(fits(resolved, self.schema))

    def test_what_the_program_refuses(self):
        damages = {
            "unknown key": lambda c: c.update(seeed=1), "missing key": lambda c: c.pop("training"), "wrong type": lambda c: c.update(seed="a"),
            "out of range": lambda c: c["training"].update(batch_size=0), "C of 0": lambda c: c["sites"][0].update(C=0),
            "unknown kind": lambda c: c["objective"][0].update(type="faith"), "no sites": lambda c: c.update(sites=[]),
            "unknown choice": lambda c: c.update(precision="fp8"), "bad device": lambda c: c.update(device="gpu"),
            "not a whole number": lambda c: c["training"].update(steps=1.5), "boolean": lambda c: c["training"].update(steps=True)}
        for what, damage in damages.items():
            with self.subTest(what):
                config = copy.deepcopy(CONFIG)
                damage(config)
                self.assertFalse(fits(config, self.schema))
                self.assertFalse(self.says(config))

    def test_pretraining(self):
        schema = json.loads(say("--pretrain"))
        model = dict(vocab_size=61, n_layer=1, n_head=2, n_embd=8, n_intermediate=16, n_key_value_heads=2, block_size=16)
        self.assertTrue(fits({"model": model, "training": {"steps": 0}}, schema))
        self.assertFalse(fits({"model": model}, schema))

    def test_the_reference_is_up_to_date(self):
        generated = say("--markdown") + "\n" + say("--pretrain", "--markdown")
        self.assertEqual((ROOT / "docs" / "configuration.md").read_text(), generated,
                         "write it again: (vpd schema --markdown; echo; vpd schema --pretrain --markdown) > docs/configuration.md")


if __name__ == "__main__":
    unittest.main()
