"""The corpora that this project makes by itself on first use, one a task."""
