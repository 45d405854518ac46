"""Run the benchmark from this checkout, installed or not: python run_benchmark.py --upstream daisy --task se --rho 0.7"""
import sys
import types
from pathlib import Path

if "earlyexit_superb" not in sys.modules:  # this folder *is* the package: upstreams/ is earlyexit_superb.upstreams
    checkout = sys.modules["earlyexit_superb"] = types.ModuleType("earlyexit_superb")
    checkout.__path__ = [str(Path(__file__).resolve().parent)]

from earlyexit_superb.benchmark.cli import main

if __name__ == "__main__":
    sys.exit(main())
