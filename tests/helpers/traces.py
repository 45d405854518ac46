"""Where traces lie, and what makes one right."""

import torch
from earlyexit_superb.benchmark.exiting import Exit, replay, run_until_exit


def folders(items):
    """Those of all traces in the cache beside `items`."""
    return sorted(p for p in (items[0].path.parent / "cache" / "traces").iterdir() if p.is_dir())


def equals_live(upstream, kept, items, load, taus):
    """States to within what fp16 costs, and every exit that the live pass takes."""
    for i, item in enumerate(items):
        wav, length = load(item).wav[None], torch.tensor([item.samples])
        with torch.no_grad():
            states = torch.stack(list(upstream.states(wav, length)))
        batch = kept.batch([i])
        assert int(batch.frames) == states.shape[2]
        error = (batch.states[False] - states).abs().max()
        # the written error, and the batch's
        assert error <= kept.manifest["largest_rounding_error"] + 1e-5 * states.abs().max()
        for tau in taus:
            exit = Exit(range(1, upstream.card.depth + 1), tau)
            assert (
                int(run_until_exit(upstream, wav, length, exit).depth)
                == replay(kept.evidence[[i]], exit)[0]
            )
