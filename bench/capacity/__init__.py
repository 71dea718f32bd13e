"""How much load a scheme carries inside an objective: the search, its steps, and what is said of it.

`search.py`, `objective.py`, `backlog.py` and `words.py` are pure; `climb.py` measures."""
