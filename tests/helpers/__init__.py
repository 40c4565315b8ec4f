"""What several tests need. Tests import from here, never from each other."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""
SHARED = ROOT.parent / "shared" / "data"
"""Real audio, where it is there."""
