"""What happens around a run: hooks."""
from .hooks import *  # noqa: F403
