"""Calls `vpd` and keeps what it answered, so that a second call of tools/case_studies goes on where the first one stopped."""

import json
import os
import shlex
import subprocess
import sys


class Failure(Exception):
    """A sentence for the user."""


class Program:
    def __init__(self, path, threads, answers, root, out):
        self.path, self.threads, self.answers, self.root, self.out = path, threads, answers, root, out
        answers.mkdir(parents=True, exist_ok=True)

    def call(self, command, *arguments):
        """Runs a command that talks to the user. Its exit code and what it said last."""
        words = [str(self.path), command, *map(str, arguments)]
        if command in ("decompose", "evaluate", "harvest", "edit", "intervene", "audit", "unlearn", "pretrain"):
            words += ["--threads", str(self.threads)]
        print("$ " + shlex.join(words), file=sys.stderr, flush=True)
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"OMP_WAIT_POLICY": "passive", **os.environ})
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return done.returncode, done.stdout, said[-1] if said else ""

    def must(self, command, *arguments):
        code, output, said = self.call(command, *arguments)
        if code:
            raise Failure(f"vpd {command} ended with exit code {code}: {said}")
        return output

    def ask(self, name, command, run, *arguments):
        """What a command answers in JSON, with the command itself, from an earlier call with the same words where there was one. A refusal
        (exit code 2 or 3) is an answer, too: {"refused": sentence}."""
        words = [command, str(run), *map(str, arguments)]
        path = self.answers / run.name / f"{name}.json"
        if path.exists():
            kept = json.loads(path.read_text())
            if kept["words"] == words:
                return kept
        code, output, said = self.call(command, run, *arguments, "--json", "-")
        if code not in (0, 2, 3):
            raise Failure(f"vpd {command} ended with exit code {code}: {said}")
        answer = json.loads(output) if code == 0 else {"refused": self.here(said)}
        kept = {"words": words, "command": self.shown(words), "answer": answer}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept))
        return kept

    def shown(self, words):
        return self.here(shlex.join(["vpd", *words]))

    def here(self, text):
        """As a page shows it: paths from the project's root, and runs where they are without --out."""
        return text.replace(f"{self.out}/", "runs/case_studies/").replace(f"{self.root}/", "")
