"""An LSTM in the precision that the device can do."""
import torch
from torch import Tensor, nn

__all__ = ['run_lstm']


def run_lstm(lstm: nn.LSTM, x: Tensor) -> Tensor:
    """Outputs of all steps; on a CPU under autocast, in single precision.

    oneDNN has LSTMs of 16 bits for some CPUs only, and fails on the others.

    Args:
        lstm: With ``batch_first``.
        x: (N, T, C).

    Returns:
        (N, T, hidden channels), twice as many where the LSTM has two directions.
    """
    if x.device.type == 'cpu' and torch.is_autocast_enabled('cpu'):
        with torch.autocast('cpu', enabled=False):
            return lstm(x.float())[0]
    return lstm(x)[0]
