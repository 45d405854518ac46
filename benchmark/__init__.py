"""The machine: contract, registry, exiting, calibration, training, evaluation, cost, results,
leaderboard, command line.
"""
