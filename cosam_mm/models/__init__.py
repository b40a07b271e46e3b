"""What the registry builds. Heads need MMAction2 and register with it."""
from . import backbones  # noqa: F401
