"""What happens around a run: hooks."""
from .hooks import *  # noqa: F403
from .runner.amp_optim_wrapper import *  # noqa: F403
