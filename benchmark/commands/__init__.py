"""The verbs of the command line, a file each, which holds command(argv)."""

VERBS = {  # name: what --help says of it
    "run": "make the rows of one table, an upstream on a task; no verb means this one",
    "plan": "say what a run would cost, before it costs anything",
    "sweep": "run a grid of cells: upstreams x tasks x protocols x seeds",
    "speed": "time an upstream beside other implementations of it",
    "train": "train an upstream's own weights",
    "data": "make, list and check corpora",
    "check": "hold an upstream or a task against the contract",
    "ls": "list upstreams, tasks and corpora",
    "compare": "print the paired difference of two rows; with --task, all systems in one table",
    "leaderboard": "rebuild the tables from the JSONs of a results folder",
    "table1": "make and print DAISY's Table 1, the published numbers beside it",
    "paper": "make and print a table or figure of another paper, its numbers beside ours",
    "midpoints": "hold DAISY's thresholds at rho 1 against the released ones",
    "probe": "score every depth by itself, beside random weights",
    "figure": "draw a figure of DAISY's paper from the rows of a results folder",
    "cache": "list or remove what was recorded on this machine",
    "doctor": "find out what does not import here, and how to mend it",
}
