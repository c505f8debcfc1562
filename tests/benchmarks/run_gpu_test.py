"""benchmarks/run_gpu.sh before there is a GPU: what it would run there is found and starts.

A bundle is packed from this build and unpacked elsewhere, with a PyTorch elsewhere, too, and a pretended nvidia-smi. Where mounting is
allowed, this source tree, its build and its PyTorch are hidden from it. Every test for CUDA then says that it was not tested.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path

ROOT = Path(os.environ.get("VPD_SOURCE_DIR", Path(__file__).parents[2]))
BUILD = Path(os.environ["VPD_BINARY_DIR"])

# What a program may want beside its bundle and LibTorch: glibc and GCC's libraries.
EVERYWHERE = re.compile(r"(ld-linux-x86-64|libc|libm|libmvec|libdl|librt|libpthread|libutil|libgcc_s|libstdc\+\+|libgomp)\.so")
# The newest of their symbols: those of Debian 12 and of Ubuntu 22.04.
NEWEST = {"GLIBC": (2, 35), "GLIBCXX": (3, 4, 30)}

CUDA_TESTS = "--gtest_filter=*cuda*:*Cuda*"


def output(*command, **how):
    return subprocess.run(list(map(str, command)), check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how).stdout


def lists_tests(text):
    return re.search(r"^  \w", text, re.MULTILINE) is not None


class RunGpu(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.work = Path(tempfile.mkdtemp(prefix="vpd_gpu_"))
        cls.addClassCleanup(shutil.rmtree, cls.work)
        archive = cls.work / "carried" / "bundle.tar.gz"
        output(ROOT / "benchmarks/run_gpu.sh", "--bundle", archive, "--build", BUILD, "--no-build")
        cls.size = archive.stat().st_size
        with tarfile.open(archive) as files:
            files.extractall(cls.work)
        cls.bundle = cls.work / "vpd-gpu"
        cls.programs = sorted((cls.bundle / "bin").glob("vpd_*_tests"))

        libtorch = re.search(r"libtorch_cpu\.so => (\S+)/torch/lib/", output("ldd", BUILD / "bin/vpd"))
        cls.site = Path(libtorch.group(1))
        smi = cls.work / "pretended" / "nvidia-smi"
        smi.parent.mkdir()
        smi.write_text("#!/bin/sh\necho Pretended GPU\n")
        smi.chmod(0o755)
        cls.environment = {"PATH": f"{smi.parent}:/usr/bin:/bin", "HOME": str(cls.work), "OMP_WAIT_POLICY": "passive",
                           "PYTHONPATH": str(cls.work / "site")}
        cls.hide()

    @classmethod
    def hide(cls):
        """Sets cls.elsewhere, the words before a command that sees PyTorch in `site` and, where mounting is allowed, this tree nowhere."""
        packages = [name for name in ("torch", "nvidia") if (cls.site / name).is_dir()]
        for name in packages:
            (cls.work / "site" / name).mkdir(parents=True)
        lines = [f"mount --bind '{cls.site / name}' '{cls.work / 'site' / name}'" for name in packages]
        lines += [f"mount -t tmpfs tmpfs '{hidden}'" for hidden in (cls.site, BUILD, ROOT)]
        cls.elsewhere = ["unshare", "--mount" if os.geteuid() == 0 else "-rm", "sh", "-ec", "\n".join([*lines, 'exec "$@"']), "sh"]
        cls.hidden = subprocess.run([*cls.elsewhere, "true"], capture_output=True).returncode == 0
        if not cls.hidden:
            cls.elsewhere = []
            for name in packages:
                (cls.work / "site" / name).rmdir()
                (cls.work / "site" / name).symlink_to(cls.site / name)

    def there(self, *command, root=None, **environment):
        """A command as on the other machine."""
        return subprocess.run([*self.elsewhere, *map(str, command)], cwd=root or self.bundle, env={**self.environment, **environment}, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run_gpu(self, *arguments, root=None, **environment):
        root = root or self.bundle
        return self.there(root / "benchmarks/run_gpu.sh", "--python", os.path.realpath(sys.executable), *arguments, root=root, **environment)

    def library_path(self):
        directories = [self.bundle / "lib", self.work / "site/torch/lib"]
        directories += [self.work / "site/nvidia" / path.parent.name / "lib" for path in (self.site / "nvidia").glob("cu[0-9]*/lib")]
        return ":".join(map(str, directories))

    def copy(self):
        """Of the bundle, to be spoilt: programs and libraries of its own."""
        root = Path(tempfile.mkdtemp(dir=self.work)) / "vpd-gpu"
        shutil.copytree(self.bundle, root, ignore=shutil.ignore_patterns("configs", "data"))
        return root

    def missing(self, root):
        """What the files of a bundle need that is not there, nor beside LibTorch, nor on every machine."""
        there = {path.name for directory in (root / "lib", self.site / "torch/lib", *(self.site / "nvidia").glob("cu[0-9]*/lib"))
                 for path in directory.iterdir()}
        found = []
        for file in [*(root / "bin").iterdir(), root / "benchmarks/step", root / "benchmarks/kernels", *(root / "lib").iterdir()]:
            for name in re.findall(r"\(NEEDED\).*\[(.*)\]", output("readelf", "-d", file)):
                if name not in there and not EVERYWHERE.match(name):
                    found.append(f"{file.name} needs {name}")
        return found

    def test_nothing_is_needed_that_only_this_machine_has(self):
        self.assertEqual(self.missing(self.bundle), [])
        spoilt = self.copy()
        library = next((spoilt / "lib").glob("libfmt.so*"))
        library.unlink()
        self.assertIn(f"vpd needs {library.name}", self.missing(spoilt))

    def test_no_newer_glibc_is_needed(self):
        here = os.confstr("CS_GNU_LIBC_VERSION").split()[1]
        if tuple(map(int, here.split("."))) > (2, 36):
            self.skipTest(f"NOT TESTED: what glibc {here} builds may need symbols that are new in it")
        for file in [*(self.bundle / "bin").iterdir(), self.bundle / "benchmarks/step", self.bundle / "benchmarks/kernels",
                     *(self.bundle / "lib").iterdir()]:
            for name, number in re.findall(r"\b(GLIBC|GLIBCXX)_([0-9.]+)", output("readelf", "-V", file)):
                self.assertLessEqual(tuple(map(int, number.split("."))), NEWEST[name], file.name)

    def test_a_bundle_is_small_enough_to_carry(self):
        self.assertLess(self.size, 64 << 20)

    def test_every_program_starts(self):
        for program in ("bin/vpd", "benchmarks/step", "benchmarks/kernels"):
            done = self.there(self.bundle / program, "--help", LD_LIBRARY_PATH=self.library_path())
            self.assertEqual(done.returncode, 0, f"{program}: {done.stdout}")
            self.assertIn("--", done.stdout)

    def test_every_test_is_found_and_says_that_it_was_not_tested(self):
        self.assertGreater(len(self.programs), 5)
        done = self.run_gpu("--only", "tests", "--out", "results")
        self.assertEqual(done.returncode, 1, done.stdout)
        for program in self.programs:
            part = "tests-" + re.fullmatch("vpd_(.*)_tests", program.name).group(1)
            self.assertIn(f"ok      {part} ", done.stdout)
            self.assertIn(f"FAILED  {part}: NOT TESTED", done.stdout)
            log = (self.bundle / "results" / f"{part}.log").read_text()
            self.assertIn("[  PASSED  ] 0 tests.", log, f"{part}: a test for CUDA passed where there is none")

    def test_no_program_with_tests_for_cuda_is_left_out(self):
        carried = {program.name for program in self.programs}
        for program in sorted((BUILD / "bin").glob("vpd_*_tests")):
            # Those of tests/support are of the tests' own parts, and of CUDA's emulation.
            if program.name not in carried | {"vpd_support_tests"} and "emulated" not in program.name:
                self.assertFalse(lists_tests(output(program, "--gtest_list_tests", CUDA_TESTS)), f"{program.name} has tests for CUDA")

    def test_data_is_read_where_it_was_carried_to(self):
        case = "--gtest_filter=Checkpoints/HuggingFaceLogits.AreThoseOfTransformers/llama"
        program, path = self.bundle / "bin/vpd_target_tests", self.library_path()
        done = self.there(program, case, LD_LIBRARY_PATH=path, VPD_TEST_DATA=str(self.bundle / "tests/data"))
        self.assertIn("[  PASSED  ] 1 test.", done.stdout)
        done = self.there(program, case, LD_LIBRARY_PATH=path, VPD_TEST_DATA="/nowhere")
        self.assertIn("/nowhere", done.stdout)

    def test_a_step_finds_its_configuration(self):
        done = self.run_gpu("--only", "graph", "--out", "steps")
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertEqual(done.stdout.count("FAILED  step-"), 4, done.stdout)
        for log in (self.bundle / "steps").glob("step-*.log"):
            self.assertIn("cuda", log.read_text())

    def test_what_the_other_machine_lacks_is_said(self):
        without = self.work / "python-without-torch"
        without.write_text("#!/bin/sh\necho\n")
        without.chmod(0o755)
        done = self.run_gpu("--only", "tests", "--python", without)
        self.assertEqual(done.returncode, 3, done.stdout)
        self.assertRegex(done.stdout, "needs PyTorch [0-9].* has none")

        spoilt = self.copy()
        wanted = (spoilt / "BUNDLE").read_text()
        (spoilt / "BUNDLE").write_text("1.0.0+cu130\n")
        done = self.run_gpu("--only", "tests", root=spoilt)
        self.assertEqual(done.returncode, 3, done.stdout)
        self.assertIn("needs PyTorch 1.0.0+cu130", done.stdout)
        self.assertIn(wanted.strip(), done.stdout)

        # A program that needs a library which is on no machine.
        (spoilt / "BUNDLE").write_text(wanted)
        program = spoilt / "bin/vpd"
        program.write_bytes(re.sub(rb"(?<=\0libfmt\.so\.)[0-9](?=\0)", b"X", program.read_bytes()))
        done = self.run_gpu("--only", "tests", root=spoilt)
        self.assertEqual(done.returncode, 3, done.stdout)
        self.assertIn("libfmt.so.X", done.stdout)

    def test_without_a_gpu_nothing_is_measured(self):
        done = self.run_gpu("--only", "tests", PATH="/usr/bin:/bin")
        self.assertEqual(done.returncode, 3, done.stdout)
        self.assertIn("no nvidia-smi", done.stdout)

    def test_arguments(self):
        self.assertEqual(self.run_gpu("--onyl", "tests").returncode, 2)
        self.assertEqual(self.run_gpu("--only").returncode, 2)

    def test_this_machine_was_hidden(self):
        if not self.hidden:
            self.skipTest("NOT TESTED: hiding this source tree needs the right to mount")
        self.assertNotEqual(self.there("test", "-e", ROOT / "CMakeLists.txt").returncode, 0)
        self.assertNotEqual(self.there("test", "-e", self.site / "torch").returncode, 0)


if __name__ == "__main__":
    if not (BUILD / "benchmarks/step").exists():
        print("NOT TESTED: this build has no benchmarks", flush=True)
        sys.exit(0)
    if "ASAN_OPTIONS" in os.environ:
        print("NOT TESTED: no bundle is made of a build with sanitizers", flush=True)
        sys.exit(0)
    unittest.main()
