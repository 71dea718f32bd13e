"""What the cache did, counted: the figures behind hit ratio and key reads per key write."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Counters:
    """Since the start of the server.  Keys are counted one by one, however many a command carries."""

    cache_hits: int = 0
    """Keys that were read and there."""
    cache_misses: int = 0
    """Keys that were read and not there, or held only a lease."""
    cache_memberships_missed: int = 0
    """STATEs that found no list of the user's conversations."""
    cache_states_missed: int = 0
    """STATEs that found a key missing, and read MySQL."""
    cache_states_filled: int = 0
    """Those of them that had something to fill."""
    cache_leases: int = 0
    """Keys that were missing and got a lease."""
    cache_fills: int = 0
    """Keys stored after a miss."""
    cache_fills_refused: int = 0
    """Keys not stored, because their lease was gone or somebody else's."""
    cache_fills_failed: int = 0
    """Keys not stored, because Redis did not take them."""
    cache_deletes: int = 0
    """Keys deleted after a COMMIT."""
    cache_delete_failed: int = 0
    """Keys whose delete after a COMMIT failed: stale until a retry, or until their TTL with `ignore`."""
    cache_distrusted: int = 0
    """Keys read from MySQL because their delete had failed."""
    cache_fallback: int = 0
    """STATEs answered by MySQL alone, because Redis was away."""

    def figures(self) -> dict[str, float]:
        """All counters, and the two ratios made of them (0 where nothing was counted)."""
        reads, writes = self.cache_hits + self.cache_misses, self.cache_deletes + self.cache_delete_failed
        return {
            **asdict(self),
            "cache_key_reads": reads,
            "cache_hit_ratio": self.cache_hits / reads if reads else 0.0,
            "cache_key_reads_per_key_write": reads / writes if writes else 0.0,
        }
