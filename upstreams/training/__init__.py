"""How upstreams get their own weights."""
