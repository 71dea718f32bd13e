"""How long does a read take to be acknowledged, and to show elsewhere, in ordinary chat?

People talk to their partners (90 %) and in small groups (10 %), receive, confirm what arrived, read it when
they look (half at once, the rest within minutes), and now and then open the app.  The numbers behind it are
in `bench/plan.py`.

    bench run --scenario steady_chat --scheme redis --users 10000
    locust -f scenarios/steady_chat.py --headless -u 100 --host ws://127.0.0.1:8080 -t 20s
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.load import standalone
from bench.load.user import ChatUser, Step, Timeline, in_order

standalone.install()


class SteadyChat(ChatUser):
    """One device.  A message that arrives is confirmed within a second and read when its owner looks."""

    @classmethod
    def timeline(cls, plan: Timeline) -> Iterator[Step]:
        """Everybody talks; some have yet to read what was said before; apps are opened; probes ask."""
        return in_order(plan.sends(), plan.seeded_reads(), plan.openings(), plan.probes())
