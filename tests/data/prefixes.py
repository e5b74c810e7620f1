"""Writes the prefix table that benchmarks and load tests use: prefix,asn lines, gzip.

About 1.08 million IPv4 and 250 thousand IPv6 prefixes that were really announced, nested as they
were, from a public package. Facts for measuring with; the file is made where it is needed and is no
part of the repository. Usage: prefixes.py WORK OUT
"""

import gzip
import importlib.util
import sys
import types
from pathlib import Path


def main():
    work, out = Path(sys.argv[1]), Path(sys.argv[2])
    work.mkdir(parents=True, exist_ok=True)
    # The demo's program knows the package; it also reads GeoIP, which is not needed here.
    sys.modules.setdefault("maxminddb", types.ModuleType("maxminddb"))
    path = Path(__file__).resolve().parents[2] / "data" / "make_demo.py"
    spec = importlib.util.spec_from_file_location("make_demo", path)
    demo = importlib.util.module_from_spec(spec)
    sys.modules["make_demo"] = demo
    spec.loader.exec_module(demo)
    wheel = demo.fetch(work, "prefixes")
    part = out.with_suffix(".part")
    with gzip.open(part, "wt", compresslevel=3) as lines:
        for prefix, asn in demo.announced(wheel, work):
            lines.write(f"{prefix},{asn}\n")
    part.rename(out)


main()
