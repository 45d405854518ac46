"""How the weights of upstreams are trained."""
