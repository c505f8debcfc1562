"""Prints the ten slowest tests of a ctest run.

    slowest_tests.py build/ci/tests.xml
"""

import sys
import xml.etree.ElementTree as ElementTree


def main():
    cases = [(float(case.get("time") or 0), case.get("name")) for case in ElementTree.parse(sys.argv[1]).iter("testcase")]
    print(f"the slowest of {len(cases)} tests, which took {sum(seconds for seconds, _ in cases):.0f} s together:")
    for seconds, name in sorted(cases, reverse=True)[:10]:
        print(f"{seconds:8.1f} s  {name}")


if __name__ == "__main__":
    main()
