"""`vpd harvest` that ends early: the same command goes on, and leaves what one without a break does."""

import os
import pty
import random
import signal
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from interpretation_support import HarvestTest
from support import PROGRAM, write_shard


class Interrupted(HarvestTest):
    """A harvest that ends early goes on with the same command, and leaves what one without a break does."""

    ROWS = 100

    def setUp(self):
        super().setUp()
        draw = random.Random(7)
        write_shard(self.root / "many.bin", [draw.randrange(61) for _ in range(17 * self.ROWS)])
        self.run_directory = self.make_run()
        self.command = ("harvest", self.run_directory, "--tokens", self.root / "many.bin", "--batch-size", "1", "--threads", "1")
        undisturbed = self.make_run(name="undisturbed")
        self.run_program("harvest", undisturbed, *self.command[2:], "--sparse", self.root / "undisturbed_sparse")
        self.undisturbed = self.table_bytes(undisturbed)

    def start_and_wait(self, part, *arguments):
        """A harvest that saves after every batch, which has done so twice."""
        process = self.start(*self.command, "--save-every", "0", *arguments)
        parts = self.results(self.run_directory) / "harvest.parts" / part
        self.wait_until(lambda: len(list(parts.glob("state_*"))) >= 2, process, "a saved state")
        return process

    def kill(self, process):
        process.kill()
        self.assertEqual(process.wait(), -signal.SIGKILL)

    def assert_goes_on(self, *arguments):
        """On a terminal, which shows at once what the program is at."""
        here, there = pty.openpty()
        process = subprocess.Popen([PROGRAM, *map(str, self.command + arguments)], stdout=subprocess.DEVNULL, stderr=there)
        os.close(there)
        said = b""
        try:
            while part := os.read(here, 4096):
                said += part
        except OSError:  # the program has ended
            pass
        os.close(here)
        self.assertEqual(process.wait(), 0, said)
        self.assertRegex(said.decode(), r"going on from batch [1-9]\d* of 100")

    def test_a_signal(self):
        sparse = ("--sparse", self.root / "sparse")
        process = self.start_and_wait("0-of-1", *sparse)
        self.refuse(3, ["harvest.parts/0-of-1", "another program harvests this part; wait for it or stop it"], *self.command, *sparse)
        process.send_signal(signal.SIGINT)
        _, err = self.finish(process, 130)
        self.assertRegex(err, r"interrupted after \d+ of 1700 positions, which are saved: run the same command to go on")
        self.assertFalse((self.results(self.run_directory) / "harvest").exists())
        words = ["settings.json", '"threshold"', "0.2", "0.1", "go on with the same options"]
        self.refuse(3, words, *self.command, *sparse, "--threshold", "0.2")
        self.assert_goes_on(*sparse)
        self.assert_same_tables(self.table_bytes(self.run_directory), self.undisturbed)
        found, wanted = ({path.relative_to(place): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}
                         for place in (self.root / "sparse", self.root / "undisturbed_sparse"))
        self.assertTrue(found == wanted and len(found) == 24, "what delphi reads differs")

    def test_a_kill(self):
        self.kill(self.start_and_wait("0-of-1"))
        self.assert_goes_on()
        self.assert_same_tables(self.table_bytes(self.run_directory), self.undisturbed)

    def test_a_kill_of_one_part(self):
        self.run_program(*self.command, "--shard", "0/2")
        self.kill(self.start_and_wait("1-of-2", "--shard", "1/2"))
        self.refuse(3, ["1-of-2", "expected a finished part", "--shard 1/2"], *self.command, "--merge")
        self.assert_goes_on("--shard", "1/2")
        self.run_program(*self.command, "--merge")
        self.assert_same_tables(self.table_bytes(self.run_directory), self.undisturbed)


if __name__ == "__main__":
    unittest.main()
