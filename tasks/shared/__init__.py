"""What several tasks share: texts for CTC and their decoding, and spectra."""
