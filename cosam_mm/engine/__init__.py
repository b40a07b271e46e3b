"""What happens around a run: hooks."""
from .hooks import *  # noqa: F403
from .precision import *  # noqa: F403
