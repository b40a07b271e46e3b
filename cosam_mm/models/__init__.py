"""What the registry builds. Heads need MMAction2 and register with it."""
from . import backbones, losses, reid  # noqa: F401
