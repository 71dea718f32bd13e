"""From two sides of runs to a verdict: what changed, by how much, and may that stop a merge.

`ranks` are the statistics, `metrics` what is judged, `tolerances` what is asked, `verdicts` puts the three
together; `decide` makes an exit code of it, `baseline` keeps a side for later, `sequential` decides while
blocks still come in, `why` says where a difference sits, `history` finds when it came."""
