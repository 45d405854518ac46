"""Results as files and tables, and what produced them."""
