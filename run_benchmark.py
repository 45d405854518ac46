"""Run the benchmark from this checkout, installed or not: python run_benchmark.py --upstream
daisy --task se --rho 0.7
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

if "earlyexit_superb" not in sys.modules:
    # This folder is the package: upstreams/ is earlyexit_superb.upstreams.
    here = Path(__file__).resolve().parent
    spec = spec_from_file_location(
        "earlyexit_superb",
        here / "benchmark" / "public" / "__init__.py",
        submodule_search_locations=[str(here)],
    )
    sys.modules["earlyexit_superb"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["earlyexit_superb"])

from earlyexit_superb.benchmark.cli import main

if __name__ == "__main__":
    sys.exit(main())
