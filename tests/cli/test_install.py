"""What `cmake --install` leaves can be used: by pkg-config, by find_package, in C99 and in C++."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["VL2_SOURCE"])
BUILD = pathlib.Path(os.environ["VL2_BUILD"])
CC = os.environ["VL2_CC"]

PROGRAM = """
#include <vl2/vl2.h>
#include <stdio.h>
int main(void) {
    vl2_error err = {VL2_OK, ""};
    vl2_engine *engine = NULL;
    vl2_engine_options options;
    vl2_engine_options_init(&options);
    vl2_status status = vl2_engine_open(&engine, "there is no such folder", &options, &err);
    printf("%s %d %s\\n", vl2_version(), status != VL2_OK, err.text);
    return engine != NULL;
}
"""
LISTS = """
cmake_minimum_required(VERSION 3.18)
project(user LANGUAGES C)
find_package(vl2 0.1 REQUIRED)
foreach(kind shared static)
    add_executable(user_${kind} user.c)
    target_link_libraries(user_${kind} PRIVATE vl2::${kind})
endforeach()
"""
BOTH_HEADERS = "#include <vl2/vl2_dev.h>\n#include <vl2/vl2.h>\nint main(void) { return VL2_OK; }\n"


def sh(*command, env=None, cwd=None):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=cwd,
                          env={**os.environ, **(env or {})})
    if done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp())
        cls.prefix = cls.folder / "prefix"
        sh("cmake", "--install", BUILD, "--prefix", cls.prefix)
        (cls.folder / "user.c").write_text(PROGRAM)
        cls.lib = next(cls.prefix.rglob("libvl2.so")).parent
        cls.pkg = {"PKG_CONFIG_PATH": str(cls.lib / "pkgconfig")}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def answers(self, program, env=None):
        said = sh(program, env=env)
        self.assertRegex(said, r"^\d+\.\d+\.\d+ 1 .*there is no such folder")

    def test_pkg_config_shared(self):
        flags = sh("pkg-config", "--cflags", "--libs", f"--define-variable=prefix={self.prefix}", "vl2",
                   env=self.pkg).split()
        sh(CC, self.folder / "user.c", "-o", self.folder / "shared", *flags)
        self.answers(self.folder / "shared", {"LD_LIBRARY_PATH": str(self.lib)})

    def test_pkg_config_static(self):
        flags = sh("pkg-config", "--static", "--cflags", "--libs", f"--define-variable=prefix={self.prefix}",
                   "vl2", env=self.pkg).split()
        flags = ["-l:libvl2.a" if f == "-lvl2" else f for f in flags]
        sh(CC, self.folder / "user.c", "-o", self.folder / "static", *flags)
        self.answers(self.folder / "static", {"LD_LIBRARY_PATH": "/nowhere"})

    def test_find_package(self):
        (self.folder / "CMakeLists.txt").write_text(LISTS)
        sh("cmake", "-G", "Ninja", "-B", self.folder / "made", "-S", self.folder,
           f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_C_COMPILER={CC}")
        sh("cmake", "--build", self.folder / "made")
        for kind in ("shared", "static"):
            self.answers(self.folder / "made" / f"user_{kind}")

    def test_the_worked_example_of_the_header_works(self):
        text = (self.prefix / "include/vl2/vl2.h").read_text()
        part = text.split("A worked example:\n", 1)[1].split("Rules.", 1)[0]
        lines = [line[7:] for line in part.splitlines() if line.startswith(" *     ")]
        self.assertGreater(len(lines), 10)
        example = "\n".join(lines).replace("deepseek-vl2-tiny", str(SOURCE / "tests/golden/mini-tiny"))
        example = example.replace("photo.jpg", str(SOURCE / "tests/golden/mini-tiny/golden/img0.png"))
        path = self.folder / "example.c"
        path.write_text("#include <stdio.h>\n#include <vl2/vl2.h>\nint main(void) {\n" + example + "\nreturn !ok;\n}\n")
        flags = sh("pkg-config", "--cflags", "--libs", f"--define-variable=prefix={self.prefix}", "vl2",
                   env=self.pkg).split()
        sh(CC, "-Wall", "-Wextra", "-Werror", path, "-o", self.folder / "example", *flags)
        self.assertTrue(sh(self.folder / "example", env={"LD_LIBRARY_PATH": str(self.lib)}).strip())
        path.write_text(path.read_text().replace("img0.png", "none.png")) # its way to say what failed
        sh(CC, path, "-o", self.folder / "example", *flags)
        done = subprocess.run([self.folder / "example"], capture_output=True, text=True,
                              env={**os.environ, "LD_LIBRARY_PATH": str(self.lib)})
        self.assertEqual(done.returncode, 1)
        self.assertIn("none.png", done.stdout)

    def test_header_in_c99_and_cxx(self):
        include = self.prefix / "include"
        for compiler, standard, ending in (("cc", "c99", "c"), ("g++", "c++11", "cpp"), ("clang", "c99", "c")):
            if not shutil.which(compiler):
                self.skipTest(f"{compiler} is not installed")
            path = self.folder / f"header.{ending}"
            path.write_text(BOTH_HEADERS)
            sh(compiler, f"-std={standard}", "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only",
               "-I", include, path)

    def test_shared_library_exports_its_headers_names_only(self):
        headers = "".join(p.read_text() for p in (self.prefix / "include/vl2").glob("*.h"))
        declared = set(re.findall(r"^VL2_API[^;]*?\b(vl2_\w+)\(", headers, re.M | re.S))
        listed = sh("nm", "-D", "--defined-only", self.lib / "libvl2.so")
        exported = {line.split()[-1] for line in listed.splitlines()} - {"_init", "_fini"}
        self.assertEqual(exported - declared, set(), "exported, but in no public header")
        self.assertEqual(declared - exported, set(), "declared, but not there")
        self.assertGreater(len(exported), 50)

    def test_installed_program(self):
        said = sh(self.prefix / "bin/vl2", "version")
        self.assertIn(re.search(r"project\(vl2 VERSION (\S+)", (SOURCE / "CMakeLists.txt").read_text()).group(1), said)


if __name__ == "__main__":
    unittest.main()
