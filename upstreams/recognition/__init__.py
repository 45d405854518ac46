"""What systems that spell by themselves share: symbols, heads, criteria, weights."""
