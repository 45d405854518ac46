"""Running the cells of a sweep over Ray, on one machine or a cluster that shares the results
folder.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import require
from .sweep_grid import Cell
from .sweep_local import Outcome, Pool, attempt, words


def over_ray(cells: Sequence[Cell], pool: Pool, address: str, gpus: float) -> Iterator[Outcome]:
    """Run the cells as Ray tasks; yields each as it ends.

    Args:
        address: of a cluster (auto, HOST:PORT); "local" starts Ray on this machine.
        gpus: that a cell takes on cuda; 0.5: two cells share one.

    Raises:
        MachineError: ray is not installed.
    """
    ray = require("ray", "sweep --ray", "cluster")
    # the workers may be unable to import a checkout that is not installed
    ray.cloudpickle.register_pickle_by_value(sys.modules[attempt.__module__])
    local: dict[str, Any] = {"num_cpus": pool.workers * pool.threads, "include_dashboard": False}
    where = local if address == "local" else {"address": address}
    ray.init(log_to_driver=False, logging_level="error", **where)
    try:
        remote = ray.remote(
            num_cpus=pool.threads,
            num_gpus=gpus if pool.device.startswith("cuda") else 0,
            max_retries=pool.retries,
        )(attempt)
        here, env = os.getcwd(), pool.environment
        running = {
            remote.remote(words(cell), str(cell.log), env, here, pool.retries): cell
            for cell in cells
        }
        while running:
            [ready], _ = ray.wait(list(running), num_returns=1)
            cell = running.pop(ready)
            try:
                yield Outcome(cell, *ray.get(ready))
            except ray.exceptions.RayError as error:
                with open(cell.log, "a", encoding="utf-8") as log:
                    log.write(f"error: its Ray worker was lost ({type(error).__name__})\n")
                yield Outcome(cell, 1, "", pool.retries + 1)
    finally:
        ray.shutdown()
