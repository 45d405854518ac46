"""Networks and their weights, which upstreams share."""
