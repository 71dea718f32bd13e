"""Brings up MySQL, Redis and Kafka for a run, proves that they answer, and takes them away again.

`bring_up` is the door; `how` says whether they are private processes (`local`), containers (`compose`),
somebody else's servers (`external`) or whichever of these is at hand (`auto`).
What goes into the databases is not decided here: that is the schemes' business.
"""

from bench.services.choose import bring_up
from bench.services.stack import Service, ServicesError, Stack

__all__ = ["Service", "ServicesError", "Stack", "bring_up"]
