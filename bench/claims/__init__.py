"""The article's figures, put to the test: `bench claims`.  Measuring (`client`, `block`, `stand`, `study`) is
apart from judging (`judge`, `claims`), which is pure."""
