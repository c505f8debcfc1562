"""Runs every check of this folder over the repository, and over samples that each check must object to."""

import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import formatting
import includes
import json_texts
import launches
import places
import sizes

ROOT = Path(os.environ.get("VPD_SOURCE_DIR", Path(__file__).parents[2]))


class Repository(unittest.TestCase):
    maxDiff = None

    def test_includes(self):
        self.assertEqual(includes.problems(ROOT), [])

    def test_launches(self):
        self.assertEqual(launches.problems(ROOT), [])

    def test_json_texts(self):
        self.assertEqual(json_texts.problems(ROOT), [])

    def test_places(self):
        self.assertEqual(places.problems(ROOT), [])

    def test_sizes(self):
        self.assertEqual(sizes.problems(ROOT), [])

    def test_formatting(self):
        self.assertEqual(formatting.problems(ROOT), [])


class Samples(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def expect_one(self, check, *words):
        found = check.problems(self.root)
        self.assertEqual(len(found), 1, found)
        for word in words:
            self.assertIn(word, found[0])

    def test_a_room_reaches_upwards(self):
        self.write("src/io/a.cpp", '#include "vpd/base/error.hpp"\n\n#include "vpd/training/step.hpp"\n')
        self.expect_one(includes, "src/io/a.cpp:3", "vpd/training/step.hpp")

    def test_io_and_kernels_are_strangers(self):
        self.write("include/vpd/kernels/a.hpp", '#include "vpd/io/files.hpp"\n')
        self.expect_one(includes, "include/vpd/kernels/a.hpp:1", "vpd/io/files.hpp")

    def test_a_private_header_reaches_upwards(self):
        self.write("src/target/detail.hpp", "")
        self.write("src/kernels/a.cpp", '#include "target/detail.hpp"\n')
        self.expect_one(includes, "src/kernels/a.cpp:1")

    def test_a_relative_include_reaches_upwards(self):
        self.write("src/target/detail.hpp", "")
        self.write("src/kernels/a.cpp", '#include "../target/detail.hpp"\n')
        self.expect_one(includes, "src/kernels/a.cpp:1")

    def test_a_folder_that_is_no_room(self):
        self.write("src/misc/a.cpp", "")
        self.expect_one(includes, "src/misc/a.cpp", "no room")

    def test_heavy_public_headers(self):
        for name in ("torch/torch.h", "ATen/ATen.h", "cuda_runtime.h", "cuda_bf16.h", "c10/cuda/CUDAStream.h"):
            with self.subTest(name):
                self.write("include/vpd/kernels/a.hpp", f"#include <{name}>\n")
                self.expect_one(includes, "include/vpd/kernels/a.hpp:1", name)

    def test_libtorch_below_kernels(self):
        self.write("src/base/a.cpp", "#include <c10/core/Device.h>\n")
        self.expect_one(includes, "src/base/a.cpp:1")

    def test_libtorch_in_device_code(self):
        for name in ("torch/torch.h", "ATen/core/Tensor.h", "c10/cuda/CUDAException.h"):
            with self.subTest(name):
                self.write("src/kernels/a.cuh", f"#include <{name}>\n")
                self.expect_one(includes, "src/kernels/a.cuh:1", name)

    def test_a_program_with_a_private_header(self):
        self.write("src/run/detail.hpp", "")
        self.write("tools/vpd/main.cpp", '#include "run/detail.hpp"\n')
        self.expect_one(includes, "tools/vpd/main.cpp:1")

    def test_includes_that_are_right(self):
        self.write("include/vpd/target/a.hpp", '#include <ATen/core/Tensor.h>\n#include "vpd/io/files.hpp"\n')
        self.write("src/run/a.cpp", '#include <ATen/ATen.h>\n#include "vpd/evaluation/pgd.hpp"\n')
        self.write("src/kernels/a.cu", "#include <cuda_runtime.h>\n")
        self.write("tools/vpd/main.cpp", '#include "vpd/run/decompose.hpp"\n')
        self.assertEqual(includes.problems(self.root), [])

    def test_a_json_text_that_may_throw(self):
        self.write("src/io/a.cpp", "\n// json.dump()\nstd::string b = json->dump(2);\n")
        self.expect_one(json_texts, "src/io/a.cpp:3", "json_text()")

    def test_a_bare_launch(self):
        self.write("src/kernels/a.cu", "void f() {\n  VPD_LAUNCH(kernel, 1, 2, 0, on, x);\n  kernel<<<1,\n           2>>>(x);\n}\n")
        self.expect_one(launches, "src/kernels/a.cu:3")

    def test_launches_that_are_checked(self):
        self.write("src/kernels/a.cu", "  // kernel<<<1, 2>>>(x) in a comment\n  VPD_LAUNCH(kernel, 1, 2, 0, on, x);\n")
        self.write("src/kernels/a.cuh", "#define VPD_LAUNCH(kernel, grid) \\\n  kernel<<<grid, 1>>>()\n\nint x;\n")
        self.assertEqual(launches.problems(self.root), [])

    def test_a_place_of_the_building_machine(self):
        self.write("tests/io/a_test.cpp", '// VPD_TEST_DATA\nconst char* b = std::getenv("VPD_TEST_DATA");\nfs::path c = VPD_TEST_DATA "/plain";\n')
        self.write("tests/support/places.hpp", "VPD_SOURCE_DIR\n")
        self.expect_one(places, "tests/io/a_test.cpp:3", "test_data()")

    def test_a_file_too_long(self):
        self.write("src/io/a.cpp", "\n" * 801)
        self.write("src/io/b.cpp", "\n" * 800)
        self.expect_one(sizes, "src/io/a.cpp: 801 lines")

    def test_a_file_badly_formatted(self):
        shutil.copy(ROOT / ".clang-format", self.root)
        self.write("src/io/a.cu", "int  f( ){return 1;}\n")
        self.write("src/io/b.cpp", "int f() { return 1; }\n")
        self.expect_one(formatting, "src/io/a.cu")

    def test_clang_format_fails(self):
        self.write(".clang-format", "NoSuchKey: 1\n")
        self.write("src/io/a.cpp", "int f();\n")
        self.assertNotEqual(formatting.problems(self.root), [])


if __name__ == "__main__":
    unittest.main()
