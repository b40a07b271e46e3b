"""What happens around a run: hooks."""
from .hooks import *  # noqa: F401, F403
